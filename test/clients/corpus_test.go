package clients

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// folders are the mailboxes of each user, as IMAP has their names.
var folders = []string{"INBOX", "Archive", "Projects/2026", "&ANwA5A-mter", "with space"}

// corpus are the messages of each folder: usual ones, and what clients have stumbled over.
func corpus() []string {
	letters := []string{
		"Subject: plain\r\n\r\nhello\r\n",
		"Subject: empty\r\n\r\n",
		"Subject: no end of line\r\n\r\nlast line without an end",
		"Subject: dots\r\n\r\n.\r\n..\r\n.dot\r\n",
		"Subject: from\r\n\r\nFrom the beginning\r\n>From quoted\r\n",
		"Subject: =?utf-8?q?=C3=BCml=C3=A4ut?=\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n",
		"Subject: latin\r\n\r\n8 bits without a charset: \xe4\xf6\xfc\r\n",
		"Subject: folded\r\nX-Long: " + strings.Repeat("word ", 30) + "\r\n\t" + strings.Repeat("more ", 30) + "\r\n\r\nx\r\n",
		"Subject: long line\r\n\r\n" + strings.Repeat("0123456789", 500) + "\r\n",
		"Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\none\r\n--b\r\n" +
			"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninside\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\nepilogue\r\n",
		"Subject: broken parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=never\r\n\r\nno boundary at all\r\n",
	}
	for n := range 10 {
		letters = append(letters, fmt.Sprintf("Subject: number %d\r\n\r\n%s\r\n", n, strings.Repeat(fmt.Sprint("line ", n, "\r\n"), 10*n)))
	}
	for i, l := range letters {
		letters[i] = fmt.Sprintf("From: Sender <sender@example.org>\r\nTo: %s\r\nDate: Mon, 2 Nov 2026 10:%02d:00 +0000\r\nMessage-ID: <%d@example.org>\r\n%s", harness.User(0), i, i, l)
	}
	return letters
}

// corpusFlags are those of the messages of each folder, by turns.
var corpusFlags = []string{"", `\Seen`, `\Seen \Answered`, `\Flagged`, `\Draft`, `\Seen \Flagged`}

// fill gives a user the corpus in all folders.
func fill(t *testing.T, mb *harness.Mailbox, user int) {
	t.Helper()
	c := harness.Connect(t, mb.IMAP)
	if err := c.Login(user); err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if folder != "INBOX" && folder != "Archive" {
			c.Must(t, "CREATE "+quoted(folder))
			c.Must(t, "SUBSCRIBE "+quoted(folder))
		}
		for i, letter := range corpus() {
			c.Must(t, fmt.Sprintf("APPEND %s (%s) {%d+}\r\n%s", quoted(folder), corpusFlags[i%len(corpusFlags)], len(letter), letter))
		}
	}
	c.Must(t, "SUBSCRIBE Archive")
	c.Must(t, "LOGOUT")
}

func quoted(name string) string { return `"` + name + `"` }

// stored is what the server has of a user: for each folder the messages with their flags, in order.
func stored(t *testing.T, mb *harness.Mailbox, user int) []string {
	t.Helper()
	c := harness.Connect(t, mb.IMAP)
	if err := c.Login(user); err != nil {
		t.Fatal(err)
	}
	var all []string
	listed, _ := c.Must(t, `LIST "" *`)
	for _, line := range listed {
		name := line[strings.LastIndex(line, ` "/" `)+len(` "/" `):]
		if strings.Contains(line, `\Noselect`) {
			continue
		}
		c.Must(t, "EXAMINE "+name)
		fetched, _, err := c.IMAP("UID FETCH 1:* (FLAGS BODY.PEEK[])")
		if err != nil {
			continue // nothing there
		}
		for _, response := range fetched {
			_, rest, ok := strings.Cut(response, "FLAGS (")
			if !ok {
				continue
			}
			flags, rest, _ := strings.Cut(rest, ")")
			_, text, _ := strings.Cut(rest, "}\r\n")
			words := slices.DeleteFunc(strings.Fields(flags), func(w string) bool { return w == `\Recent` })
			slices.Sort(words)
			all = append(all, strings.Trim(name, `"`)+" "+strings.Join(words, " ")+" "+digest(strings.TrimSuffix(text, ")")))
		}
	}
	slices.Sort(all)
	return all
}

// added are header fields by which clients and servers leave their marks.
var added = []string{"X-TUID:", "X-OfflineIMAP:", "Received:", "Return-Path:", "Delivered-To:", "X-getmail-retrieved-from-mailbox:", "Status:", "X-Status:", "X-Keywords:", "Content-Length:", "Lines:"}

// digest names a message by its subject and content, whatever ends its lines.
func digest(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	header, body, _ := strings.Cut(text, "\n\n")
	var kept []string
	subject, skipping := "", false
	for line := range strings.SplitSeq(header, "\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if !skipping {
				kept = append(kept, line)
			}
			continue
		}
		skipping = slices.ContainsFunc(added, func(name string) bool { return strings.HasPrefix(line, name) })
		if !skipping {
			kept = append(kept, line)
		}
		if s, ok := strings.CutPrefix(line, "Subject: "); ok {
			subject = s
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(kept, "\n") + "\n\n" + strings.TrimRight(body, "\n")))
	return fmt.Sprintf("%s %x", subject, sum[:6])
}

// maildirs is what is in the Maildirs below a directory: for each the messages with their flags.
func maildirs(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		kind := filepath.Base(filepath.Dir(path))
		if err != nil || d.IsDir() || kind != "cur" && kind != "new" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		box, _ := filepath.Rel(dir, filepath.Dir(filepath.Dir(path)))
		_, flags, _ := strings.Cut(filepath.Base(path), ":2,")
		all = append(all, box+" "+flags+" "+digest(string(text)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// mbox is what is in a file of messages.
func mbox(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for i, letter := range strings.Split("\n"+string(text), "\nFrom ") {
		if i == 0 {
			continue
		}
		_, letter, _ = strings.Cut(letter, "\n")
		all = append(all, digest(letter))
	}
	slices.Sort(all)
	return all
}
