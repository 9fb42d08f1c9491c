package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// pairs are the mixtures of mail transport and mailbox service.
var pairs = []struct{ transport, mailbox harness.Program }{
	{harness.Dovetail, harness.Dovetail},
	{harness.Original, harness.Dovetail},
	{harness.Dovetail, harness.Original},
	{harness.Original, harness.Original}, // the reference: the test itself is right
}

func forEachPair(t *testing.T, test func(t *testing.T, tr *harness.Transport, mb *harness.Mailbox)) {
	for _, p := range pairs {
		t.Run(fmt.Sprintf("transport=%v,mailbox=%v", p.transport, p.mailbox), func(t *testing.T) {
			mb := harness.StartMailbox(t, p.mailbox, harness.MailboxOptions{SocketUser: "postfix"})
			tr := harness.StartTransport(t, p.transport, harness.TransportOptions{
				Deliver: "lmtp:unix:" + mb.LMTPSocket, Auth: mb.AuthSocket,
			})
			test(t, tr, mb)
		})
	}
}

const letter = "From: Sender <sender@example.org>\r\nTo: user0@example.test\r\nSubject: %s\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <letter@example.org>\r\n\r\nGrüße aus der Ferne.\r\n.a line that begins with a dot\r\nlast line\r\n"

// A message goes in by SMTP and comes out by IMAP and POP3, sent and read with curl.
func TestMailFlows(t *testing.T) {
	forEachPair(t, func(t *testing.T, tr *harness.Transport, mb *harness.Mailbox) {
		text := fmt.Sprintf(letter, "it flows")
		harness.Run(t, text, "curl", "-sS", "--url", "smtp://"+tr.SMTP, "--mail-from", "sender@example.org", "--mail-rcpt", harness.User(0), "-T", "-")
		login := harness.User(0) + ":" + harness.Password
		var got string
		harness.Eventually(t, "message in the mailbox", func() bool {
			out, err := harness.Try("", "curl", "-sS", "-u", login, "imap://"+mb.IMAP+"/INBOX;MAILINDEX=1")
			got = out
			return err == nil
		})
		body := text[strings.Index(text, "From:"):]
		if !strings.HasSuffix(got, body) {
			t.Errorf("IMAP gives\n%s\nwant it to end in\n%s", got, body)
		}
		for _, header := range []string{"Return-Path: <sender@example.org>\r\n", "Delivered-To: user0@example.test\r\n", "Received: from "} {
			if !strings.Contains(got, header) {
				t.Errorf("no %q in\n%s", header, got)
			}
		}
		pop := harness.Run(t, "", "curl", "-sS", "-u", login, "pop3://"+mb.POP3+"/1")
		if pop != got {
			t.Errorf("POP3 gives\n%s\nIMAP\n%s", pop, got)
		}
		tls := harness.Run(t, "", "curl", "-sS", "--cacert", filepath.Join(mb.Dir, "cert.pem"), "-u", login,
			"imaps://localhost"+mb.IMAPS[strings.LastIndexByte(mb.IMAPS, ':'):]+"/INBOX;MAILINDEX=1")
		if tls != got {
			t.Errorf("IMAPS gives\n%s\nIMAP\n%s", tls, got)
		}
		tr.Empty(t)
	})
}

// The SMTP server asks the mailbox service for passwords, by socket.
func TestSubmissionNeedsTheRightPassword(t *testing.T) {
	forEachPair(t, func(t *testing.T, tr *harness.Transport, mb *harness.Mailbox) {
		swaks := func(args ...string) (string, error) {
			args = append([]string{"--server", tr.Submission, "--from", harness.User(0), "--to", harness.User(1), "--header", "Subject: submitted", "-n"}, args...)
			return harness.Try("", "swaks", args...)
		}
		for _, mech := range []string{"PLAIN", "LOGIN"} {
			if out, err := swaks("--auth", mech, "--auth-user", harness.User(0), "--auth-password", harness.Password); err != nil {
				t.Errorf("AUTH %s: %v\n%s", mech, err, out)
			}
			if out, err := swaks("--auth", mech, "--auth-user", harness.User(0), "--auth-password", "wrong", "--tls"); err == nil {
				t.Errorf("AUTH %s with a wrong password succeeds:\n%s", mech, out)
			} else if !strings.Contains(out, "535 5.7.8 Error: authentication failed") {
				t.Errorf("AUTH %s with a wrong password:\n%s", mech, out)
			}
		}
		if out, err := swaks(); err == nil || !strings.Contains(out, "554 5.7.1") {
			t.Errorf("submission without AUTH: %v\n%s", err, out)
		}
		out := harness.Run(t, "", "python3", "testdata/pop3.py", mb.POP3, harness.User(1), harness.Password, "2")
		if strings.Count(out, "Subject: submitted") != 2 {
			t.Errorf("POP3 of the recipient:\n%s", out)
		}
	})
}

// The same over TCP, as with a mailbox service on another host.
func TestSubmissionAsksOverTCP(t *testing.T) {
	for _, p := range pairs {
		t.Run(fmt.Sprintf("transport=%v,mailbox=%v", p.transport, p.mailbox), func(t *testing.T) {
			mb := harness.StartMailbox(t, p.mailbox, harness.MailboxOptions{})
			tr := harness.StartTransport(t, p.transport, harness.TransportOptions{Auth: "inet:" + mb.AuthTCP})
			args := []string{"--server", tr.Submission, "--from", harness.User(0), "--to", harness.User(1), "-n", "--auth", "PLAIN", "--auth-user", harness.User(0)}
			harness.Run(t, "", "swaks", append(args, "--auth-password", harness.Password)...)
			if out, err := harness.Try("", "swaks", append(args, "--auth-password", "wrong")...); err == nil {
				t.Errorf("a wrong password is taken:\n%s", out)
			}
		})
	}
}

// An unknown recipient is refused at the door, one that the mailbox service does not
// know bounces to the sender.
func TestUnknownRecipients(t *testing.T) {
	forEachPair(t, func(t *testing.T, tr *harness.Transport, mb *harness.Mailbox) {
		out, err := harness.Try("", "swaks", "--server", tr.SMTP, "--from", harness.User(0), "--to", "nobody@example.test", "-n")
		if err == nil || !strings.Contains(out, "550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown in virtual mailbox table") {
			t.Errorf("unknown recipient: %v\n%s", err, out)
		}
		// The transport knows the user, the mailbox service does not any more.
		harness.Write(t, filepath.Join(mb.Dir, "users"), harness.User(0)+":{PLAIN}"+harness.Password+"\n")
		harness.Run(t, "", "swaks", "--server", tr.SMTP, "--from", harness.User(0), "--to", harness.User(1), "-n", "--header", "Subject: returns")
		out = harness.Run(t, "", "python3", "testdata/pop3.py", mb.POP3, harness.User(0), harness.Password, "1")
		for _, want := range []string{"Undelivered Mail Returned to Sender", "Final-Recipient: rfc822; user1@example.test", "Action: failed", "Subject: returns"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in the bounce:\n%s", want, out)
			}
		}
	})
}

// Python's clients, which thousands of scripts use.
func TestPythonClients(t *testing.T) {
	forEachPair(t, func(t *testing.T, tr *harness.Transport, mb *harness.Mailbox) {
		out := harness.Run(t, "", "python3", "testdata/roundtrip.py", tr.SMTP, mb.IMAP, mb.POP3, harness.User(0), harness.Password, filepath.Join(mb.Dir, "cert.pem"))
		if !strings.Contains(out, "all is well") {
			t.Errorf("%s", out)
		}
	})
}

// mbsync makes two mailboxes the same, in both directions.
func TestMbsync(t *testing.T) {
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		t.Run(p.String(), func(t *testing.T) {
			mb := harness.StartMailbox(t, p, harness.MailboxOptions{})
			dir := harness.Dir(t)
			if err := os.Mkdir(filepath.Join(dir, "boxes"), 0o700); err != nil {
				t.Fatal(err)
			}
			host, port, _ := strings.Cut(mb.IMAP, ":")
			config := fmt.Sprintf(`IMAPAccount a
Host %s
Port %s
User %s
Pass %s
SSLType None
AuthMechs LOGIN

IMAPStore remote
Account a

MaildirStore local
Path %[5]s/boxes/
Inbox %[5]s/INBOX

Channel c
Far :remote:
Near :local:
Patterns *
Create Both
Expunge Both
SyncState *
`, host, port, harness.User(0), harness.Password, dir)
			rc := filepath.Join(dir, "mbsyncrc")
			harness.Write(t, rc, config)
			for n := range 5 {
				name := filepath.Join(dir, fmt.Sprint("letter", n))
				harness.Write(t, name, fmt.Sprintf(letter, fmt.Sprint("message ", n)))
				harness.Run(t, "", "curl", "-sS", "-u", harness.User(0)+":"+harness.Password, "imap://"+mb.IMAP+"/INBOX", "-T", name)
			}
			harness.Run(t, "", "mbsync", "-c", rc, "-a")
			local, err := filepath.Glob(filepath.Join(dir, "INBOX/*/*"))
			if err != nil || len(local) != 5 {
				t.Fatalf("mbsync fetched %d messages, want 5 (%v)", len(local), err)
			}
			if err := os.Remove(local[0]); err != nil {
				t.Fatal(err)
			}
			harness.Write(t, filepath.Join(dir, "INBOX/new/1.2.host"), strings.ReplaceAll(fmt.Sprintf(letter, "from here"), "\r\n", "\n"))
			harness.Run(t, "", "mbsync", "-c", rc, "-a")
			out := harness.Run(t, "", "curl", "-sS", "-u", harness.User(0)+":"+harness.Password, "imap://"+mb.IMAP+"/INBOX", "-X", "FETCH 1:* (FLAGS BODY[HEADER.FIELDS (SUBJECT)])")
			if strings.Count(out, "FETCH") != 5 {
				t.Errorf("after one removed and one added:\n%s", out)
			}
		})
	}
}
