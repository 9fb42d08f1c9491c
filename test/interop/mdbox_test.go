package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Mail goes into an mdbox by LMTP and comes out by IMAP and POP3, while Dovecot's
// doveadm works on the same files.
func TestMdbox(t *testing.T) {
	for _, program := range []harness.Program{harness.Dovetail, harness.Original} {
		t.Run(fmt.Sprintf("mailbox=%v", program), func(t *testing.T) {
			mb := harness.StartMailbox(t, program, harness.MailboxOptions{Location: "mdbox:~/mail", Extra: "mdbox_rotate_size = 100k\n"})
			lmtp(t, mb, "one", "first text")
			lmtp(t, mb, "two", strings.Repeat("a long line of the second text, many times\r\n", 4000))
			lmtp(t, mb, "three", "third text")
			c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
			c.Must(t, `UID COPY 1:2 Archive`)
			c.Must(t, `UID STORE 2 +FLAGS (\Flagged $Work)`)
			c.Must(t, `UID STORE 1 +FLAGS (\Deleted)`)
			c.Must(t, `EXPUNGE`)
			c.Must(t, `UID MOVE 3 Drafts`)

			// Dovecot sees the same, and may purge meanwhile.
			list := mb.Doveadm(t, 0, "-f", "tab", "fetch", "mailbox uid flags hdr.subject", "all")
			for _, want := range []string{"INBOX\t2\t\\Flagged $Work", "Archive\t1\t", "Archive\t2\t", "Drafts\t1\t"} {
				if !strings.Contains(list, want) {
					t.Errorf("doveadm fetch shows no %q:\n%s", want, list)
				}
			}
			mb.Doveadm(t, 0, "expunge", "mailbox", "Archive", "uid", "2")
			mb.Doveadm(t, 0, "purge")
			untagged, _ := c.Must(t, `UID FETCH 2 (FLAGS BODY.PEEK[TEXT])`)
			if text := strings.Join(untagged, "\n"); strings.Count(text, "many times") != 4000 || !strings.Contains(text, "$Work") {
				t.Errorf("UID FETCH after the purge: %d lines of text", strings.Count(text, "many times"))
			}
			lmtp(t, mb, "four", "fourth text")
			c.Must(t, `NOOP`)
			untagged, _ = c.Must(t, `UID FETCH 4 BODY.PEEK[]`)
			if text := strings.Join(untagged, "\n"); !strings.Contains(text, "fourth text") {
				t.Errorf("UID FETCH of the fourth message:\n%s", text)
			}
			if out := mb.Doveadm(t, 0, "fetch", "text", "mailbox", "Archive", "uid", "1"); !strings.Contains(out, "first text") {
				t.Errorf("doveadm fetch of the copy:\n%s", out)
			}
			pop := harness.Run(t, "", "curl", "-sS", "-u", harness.User(0)+":"+harness.Password, "pop3://"+mb.POP3+"/2")
			if !strings.Contains(pop, "fourth text") {
				t.Errorf("POP3 RETR 2:\n%s", pop)
			}
			files, _ := filepath.Glob(filepath.Join(mb.Mail, "user0/mail/storage/m.*"))
			if len(files) < 2 {
				t.Errorf("files of the storage: %v", files)
			}
		})
	}
}

// lmtp delivers a message to user 0.
func lmtp(t *testing.T, mb *harness.Mailbox, subject, body string) {
	t.Helper()
	c := harness.Connect(t, mb.LMTP)
	c.Expect(t, "LHLO client", "250")
	c.Expect(t, "MAIL FROM:<sender@example.org>", "250")
	c.Expect(t, "RCPT TO:<"+harness.User(0)+">", "250")
	c.Expect(t, "DATA", "354")
	c.Expect(t, "From: Sender <sender@example.org>\r\nSubject: "+subject+"\r\n\r\n"+body+"\r\n.", "250")
	c.Expect(t, "QUIT", "221")
}
