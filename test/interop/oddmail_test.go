package interop

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// An oddMail is a message that no decent program sends.
type oddMail struct {
	name, text string
}

func repeated(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

const multipart = "Content-Type: multipart/mixed; boundary=b\r\n"

// nulInName is one whose header Dovecot damages in an mbox.
const nulInName = "NUL in a name"

// oddMails are messages with headers of all sizes, with NULs, with line ends where none belong and none where
// they do.
var oddMails = []oddMail{
	{name: "long line", text: "Subject: " + strings.Repeat("long ", 15_000) + "\r\nFrom: a@example.org\r\n\r\nbody\r\n"},
	{name: "folded", text: "Subject: x\r\n" + repeated(6_000, " folded %d\r\n") + "From: a@example.org\r\n\r\nbody\r\n"},
	{name: "many fields", text: repeated(5_000, "X-%d: value\r\n") + "Subject: the last\r\n\r\nbody\r\n"},
	{name: "same field", text: repeated(3_000, "Subject: number %d\r\n") + "\r\nbody\r\n"},
	{name: "many addresses", text: "To: a@example.org" + repeated(3_000, ",\r\n user%d@example.org") + "\r\n\r\nbody\r\n"},
	{name: "long name", text: strings.Repeat("Name", 1_000) + ": x\r\nSubject: y\r\n\r\nbody\r\n"},
	{name: "long parameters", text: "Content-Type: text/plain" + repeated(500, ";\r\n p%d=v") + "\r\n\r\nbody\r\n"},
	{name: "no colon", text: "Subject: x\r\nno field\r\nFrom: a@example.org\r\n\r\nbody\r\n"},
	{name: "blank before colon", text: "Subject : x\r\nFrom\t: a@example.org\r\n\r\nbody\r\n"},
	{name: "begins with a blank", text: " Subject: x\r\nFrom: a@example.org\r\n\r\nbody\r\n"},

	{name: nulInName, text: "Sub\x00ject: x\r\nFrom: a@example.org\r\n\r\nbody\r\n"},
	{name: "NUL in a value", text: "Subject: x\x00y\r\nFrom: a\x00b@example.org\r\n\r\nbody\r\n"},
	{name: "NUL in the body", text: "Subject: x\r\n\r\n\x00bo\x00dy\x00\r\nsecond\x00\x00\x00\x00\x00\x00\r\n"},
	{name: "NULs only", text: "Subject: x\r\n\r\n" + strings.Repeat("\x00", 300) + "\r\n"},
	{name: "NUL in a part", text: multipart + "\r\n--b\r\nContent-Type: te\x00xt/html\r\n\r\na\x00b\r\n--b--\r\n"},
	{name: "NUL in a boundary", text: "Content-Type: multipart/mixed; boundary=\"b\x00c\"\r\n\r\n--b\x00c\r\n\r\npart\r\n--b\x00c--\r\n"},

	{name: "no line end", text: "Subject: x\r\n\r\nbody without end"},
	{name: "CR at the end", text: "Subject: x\r\n\r\nbody\r"},
	{name: "header only", text: "Subject: x\r\nFrom: a@example.org\r\n"},
	{name: "header without line end", text: "Subject: x\r\nFrom: a@example.org"},
	{name: "header with CR at the end", text: "Subject: x\r\nFrom: a@example.org\r"},
	{name: "no header", text: "\r\nbody\r\n"},
	{name: "one line end", text: "\r\n"},
	{name: "empty body", text: "Subject: x\r\n\r\n"},
	{name: "part without line end", text: multipart + "\r\n--b\r\n\r\npart"},
	{name: "boundary without line end", text: multipart + "\r\n--b\r\n\r\npart\r\n--b--"},
	{name: "part of a header", text: multipart + "\r\n--b\r\nContent-Type: text/html"},
	{name: "attached header", text: "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: a@example.org"},
	{name: "empty lines", text: "Subject: x\r\n\r\n\r\n\r\n\r\n"},

	{name: "CRs in the body", text: "Subject: x\r\n\r\none\rtwo\r\rthree\r\r\nfour\r\n\rfive\r\n"},
	{name: "CR in a header", text: "Subject: x\ry\r\nFrom: a@example.org\r\r\n\r\nbody\r\n"},
	{name: "CR as line ends", text: "Subject: x\rFrom: a@example.org\r\rbody\r"},
	{name: "LFs", text: "Subject: x\nFrom: a@example.org\n\none\ntwo\n\nthree\n"},
	{name: "LF and CRLF", text: "Subject: x\nFrom: a@example.org\r\n\none\r\ntwo\nthree\r\n\n\r\nfour\n"},
	{name: "LFCR", text: "Subject: x\r\n\r\none\n\rtwo\n\r\n\rthree\r\n"},
	{name: "parts with LF and CR", text: multipart + "\n--b\nContent-Type: text/html\r\n\none\rtwo\n--b\r\n\r\nthree\r\r\n--b--\nend\r"},

	{name: "From_ lines", text: "Subject: x\r\n\r\nFrom me\r\nFrom a@example.org  Sun Nov 22 10:00:00 2026\r\nSubject: y\r\n\r\n>From z\r\n"},
	{name: "dots", text: "Subject: x\r\n\r\n.\r\n..\r\n.x\r\n"},
	{name: "octets", text: "Subject: \xff\xfe \xe4\xf6\r\nFrom: \x80 <\xc3\x28@example.org>\r\n\r\n\xf0\x28\x8c\x28\r\n"},
}

// oddQuestions are asked about each message, %d being its number.
var oddQuestions = []string{
	"FETCH %d (RFC822.SIZE ENVELOPE)", "FETCH %d (BODY BODYSTRUCTURE)",
	"FETCH %d BODY.PEEK[]", "FETCH %d BODY.PEEK[HEADER]", "FETCH %d BODY.PEEK[TEXT]", "FETCH %d (BODY.PEEK[1] BODY.PEEK[1.MIME])",
	"FETCH %d (BODY.PEEK[2] BODY.PEEK[2.MIME] BODY.PEEK[1.HEADER] BODY.PEEK[1.TEXT])",
	"FETCH %d BODY.PEEK[HEADER.FIELDS (Subject From X-77)]", "FETCH %d BODY.PEEK[HEADER.FIELDS.NOT (Subject From)]",
	"FETCH %d BODY.PEEK[]<0.13>", "FETCH %d BODY.PEEK[]<13.25>", "FETCH %d BODY.PEEK[TEXT]<3.4>", "FETCH %d BODY.PEEK[TEXT]<6.100>",
	"FETCH %d BODY.PEEK[TEXT]<7.1>", "FETCH %d BODY.PEEK[HEADER]<60000.50>", "FETCH %d BODY.PEEK[]<100000.70000>", "FETCH %d BODY.PEEK[]<9999999.1>",
	"FETCH %d RFC822.HEADER", "FETCH %d BODY.PEEK[HEADER.FIELDS (Subject)]<5.20>",
}

// oddSearches are asked about all messages at once.
var oddSearches = []string{
	`SUBJECT x`, `SUBJECT "x y"`, `SUBJECT "the last"`, `SUBJECT "number 1"`, `SUBJECT "number 2999"`, `FROM a@example.org`, `TO user2999`, `TO user5`, `HEADER Subject ""`,
	`HEADER X-4999 value`, `HEADER X-none ""`, `BODY body`, `BODY two`, `BODY "one two"`, `BODY onetwo`, `BODY "dy"`, `TEXT x`, `TEXT part`, `TEXT "folded 5999"`,
	`TEXT "a b"`, `TEXT inner`, `BODY "without end"`, `BODY "From me"`, `BODY ".x"`, `LARGER 1000`, `SMALLER 30`, `NOT BODY e`, `HEADER Content-Type multipart`,
}

// lmtpData is a message as LMTP carries it.
func lmtpData(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	text = strings.ReplaceAll("\n"+text, "\n.", "\n..")[1:]
	if !strings.HasSuffix(text, "\r\n") {
		text += "\r\n"
	}
	return text + ".\r\n"
}

// deliverOdd delivers a message to a folder of user n.
func deliverOdd(t *testing.T, mb *harness.Mailbox, n int, folder, text string) {
	t.Helper()
	c := harness.Connect(t, mb.LMTP)
	defer c.Close()
	c.Expect(t, "LHLO client", "250")
	c.Expect(t, "MAIL FROM:<>", "250")
	user, domain, _ := strings.Cut(harness.User(n), "@")
	c.Expect(t, "RCPT TO:<"+user+"+"+folder+"@"+domain+">", "250")
	c.Expect(t, "DATA", "354")
	if err := c.Put(lmtpData(text)); err != nil {
		t.Fatal(err)
	}
	c.Expect(t, "", "250")
}

// TestOddMail has each server save odd messages, and both tell of them. All must be the same, whoever reads
// them first.
func TestOddMail(t *testing.T) {
	for _, l := range formats("DOVETAIL_SEEDS") {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, harness.MailboxOptions{
				Location: l.location, Users: 1, Extra: pairSettings + "lmtp_add_received_header = no\nlmtp_save_to_detail_mailbox = yes\n",
			})
			for i, mb := range p.servers {
				c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
				appended, delivered := fmt.Sprint("appended", i), fmt.Sprint("delivered", i)
				c.Must(t, "CREATE "+appended)
				c.Must(t, "CREATE "+delivered)
				for _, m := range oddMails {
					if _, _, err := c.IMAP(fmt.Sprintf("APPEND %s {%d+}\r\n%s", appended, len(m.text), m.text)); err != nil {
						t.Fatalf("%s: APPEND: %v", m.name, err)
					}
					deliverOdd(t, mb, 0, delivered, m.text)
				}
				c.Close()
			}
			for _, kind := range []string{"appended", "delivered"} {
				p.compareOdd(t, kind)
			}
			if err := p.complaints(); err != nil {
				for line := range strings.Lines(err.Error()) {
					if complaint.MatchString(line) && !known.MatchString(line) {
						t.Error(line)
					}
				}
			}
		})
	}
}

// An oddAnswer is what a server says of a question.
type oddAnswer struct{ name, question, answer string }

// known is what Dovecot logs of pieces that begin in the middle of a line end; and what each server logs that finds
// what the other has noted of a message in an mbox with a CR at the end of a header line, which for Dovecot is
// not there.
var known = regexp.MustCompile(`got too little data|mime\.parts of a message of another size|Cached message size`)

const connectionEnds = "the connection ends"

// savedOtherwise are messages of which Dovecot drops a CR that is the last byte when it saves them, and those to
// which it adds an empty line in an mbox.
var savedOtherwise = map[string]bool{
	"CR at the end": true, "header with CR at the end": true, "CR as line ends": true, "parts with LF and CR": true,
	"header only": true, "header without line end": true, "one line end": true, "empty body": true,
}

// compareOdd asks both servers about the folders that each has filled. Who has not written a folder reads it
// first.
func (p *pair) compareOdd(t *testing.T, kind string) {
	t.Helper()
	var answers [2][2][]oddAnswer // of a folder, by a server
	for folder := range 2 {
		for _, server := range []int{1 - folder, folder} {
			answers[folder][server] = p.askOdd(t, server, kind+strconv.Itoa(folder))
		}
	}
	for folder, by := range answers {
		compareAnswers(t, fmt.Sprintf("%s by %s, read by dovetail and the original", kind, serverNames()[folder]), by[0], by[1])
	}
	compareAnswers(t, kind+" by dovetail and the original, read by the original", answers[0][1], answers[1][1])
}

// compareAnswers reports some of the questions whose answers differ.
func compareAnswers(t *testing.T, what string, got, want []oddAnswer) {
	t.Helper()
	reported := 0
	for i, g := range got {
		w := want[i]
		// Dovecot dies of pieces that begin in the middle of a line end.
		if g == w || w.answer == connectionEnds || strings.Contains(what, "original, read") && savedOtherwise[w.name] {
			continue
		}
		if reported++; reported > 8 {
			break
		}
		at := 0
		for at < min(len(g.answer), len(w.answer)) && g.answer[at] == w.answer[at] {
			at++
		}
		from := max(0, at-40)
		t.Errorf("%s: %s: %s: differs at %d\n got %.150q\nwant %.150q", what, g.name, g.question, at, g.answer[from:], w.answer[from:])
	}
}

func (p *pair) askOdd(t *testing.T, server int, folder string) (answers []oddAnswer) {
	t.Helper()
	c := harness.ConnectIMAP(t, p.servers[server].IMAP, 0, folder)
	ask := func(name, command string) {
		untagged, ok, err := c.IMAP(command)
		var refused harness.Refusal
		switch {
		case errors.As(err, &refused):
			ok = err.Error()
		case err != nil: // Dovecot dies of some
			untagged, ok = nil, connectionEnds
			c = harness.ConnectIMAP(t, p.servers[server].IMAP, 0, folder)
		}
		answers = append(answers, oddAnswer{name, command, strings.ReplaceAll(strings.Join(append(untagged, plain(ok)), "\n"), folder, "@")})
	}
	for i, m := range oddMails {
		if m.name == nulInName && strings.HasPrefix(p.servers[server].Location, "mbox:") {
			continue
		}
		for _, question := range oddQuestions {
			ask(m.name, fmt.Sprintf(question, i+1))
		}
	}
	for _, keys := range oddSearches {
		ask("all", "SEARCH "+keys)
	}
	return answers
}
