package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Mail goes into a Maildir by LMTP and comes out by IMAP and POP3, while Dovecot's
// doveadm and a delivery agent work on the same files.
func TestMaildir(t *testing.T) {
	for _, program := range []harness.Program{harness.Dovetail, harness.Original} {
		for _, location := range []string{"maildir:~/Maildir", "maildir:~/Maildir:LAYOUT=fs", "maildir:~/Maildir:INDEX=~/index:CONTROL=~/control"} {
			t.Run(fmt.Sprintf("mailbox=%v,%s", program, location), func(t *testing.T) {
				mb := harness.StartMailbox(t, program, harness.MailboxOptions{Location: location})
				testMaildir(t, mb, filepath.Join(mb.Mail, "user0/Maildir"))
			})
		}
	}
}

func testMaildir(t *testing.T, mb *harness.Mailbox, root string) {
	lmtp(t, mb, "one", "first text")
	lmtp(t, mb, "two", strings.Repeat("a long line of the second text, many times\r\n", 4000))
	lmtp(t, mb, "three", "third text")
	if names := list(t, root+"/new"); len(names) != 3 {
		t.Errorf("delivered into new: %v", names)
	}
	c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	if names := list(t, root+"/new"); len(names) != 0 {
		t.Errorf("in new after SELECT: %v", names)
	}
	c.Must(t, `UID COPY 1:2 Archive`)
	c.Must(t, `UID STORE 2 +FLAGS (\Flagged $Work)`)
	c.Must(t, `UID STORE 1 +FLAGS (\Deleted)`)
	c.Must(t, `EXPUNGE`)
	c.Must(t, `UID MOVE 3 Drafts`)
	if names := list(t, root+"/cur"); len(names) != 1 || !strings.HasSuffix(names[0], ":2,Fa") {
		t.Errorf("in cur: %v", names)
	}

	// Dovecot sees the same.
	seen := mb.Doveadm(t, 0, "-f", "tab", "fetch", "mailbox uid flags hdr.subject", "all")
	for _, want := range []string{"INBOX\t2\t\\Flagged $Work\ttwo", "Archive\t1\t", "Archive\t2\t", "Drafts\t1\t"} {
		if !strings.Contains(seen, want) {
			t.Errorf("doveadm fetch shows no %q:\n%s", want, seen)
		}
	}
	mb.Doveadm(t, 0, "expunge", "mailbox", "Archive", "uid", "2")
	mb.Doveadm(t, 0, "flags", "add", `\Answered Later`, "mailbox", "INBOX", "uid", "2")
	c.Must(t, `NOOP`)
	untagged, _ := c.Must(t, `UID FETCH 2 (FLAGS RFC822.SIZE BODY.PEEK[TEXT])`)
	text := strings.Join(untagged, "\n")
	if strings.Count(text, "many times") != 4000 || !strings.Contains(text, "$Work") || !strings.Contains(text, "Later") || !strings.Contains(text, `\Answered`) {
		t.Errorf("UID FETCH after doveadm: %d lines of text, %.300s", strings.Count(text, "many times"), text)
	}

	// A client that waits hears of what a delivery agent drops into new.
	if err := c.Put("i IDLE\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, c, "+ ")
	drop(t, root, "1700000000.1.host", "Subject: dropped\n\ndropped text\n")
	await(t, c, "* 2 EXISTS")
	if err := c.Put("DONE\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, c, "i OK")
	untagged, _ = c.Must(t, `UID FETCH 4 (FLAGS BODY.PEEK[])`)
	if text := strings.Join(untagged, "\n"); !strings.Contains(text, "dropped text") {
		t.Errorf("UID FETCH of what was dropped:\n%s", text)
	}
	if out := mb.Doveadm(t, 0, "fetch", "text", "mailbox", "INBOX", "uid", "4"); !strings.Contains(out, "dropped text") {
		t.Errorf("doveadm fetch of what was dropped:\n%s", out)
	}
	pop := harness.Run(t, "", "curl", "-sS", "-u", harness.User(0)+":"+harness.Password, "pop3://"+mb.POP3+"/2")
	if !strings.Contains(pop, "dropped text") {
		t.Errorf("POP3 RETR 2:\n%s", pop)
	}
}

// list returns the names in a directory.
func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// drop puts a file into a Maildir, as its owner.
func drop(t *testing.T, root, name, text string) {
	t.Helper()
	temp := filepath.Join(root, "tmp", name)
	err := os.WriteFile(temp, []byte(text), 0o644)
	if err == nil {
		err = os.Chmod(temp, 0o666)
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(root, "new", name))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// await reads lines up to one with the prefix.
func await(t *testing.T, c *harness.Client, prefix string) {
	t.Helper()
	for {
		line, err := c.Line()
		if err != nil {
			t.Fatalf("waiting for %q: %v", prefix, err)
		}
		if strings.HasPrefix(line, prefix) {
			return
		}
	}
}
