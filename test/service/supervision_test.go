package service

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// open ends the knocking and checks that no connection was refused. What was being
// served when its process was killed was lost.
func (k *knocker) open(t *testing.T, who string) {
	t.Helper()
	k.end()
	for _, err := range k.errs {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
			t.Errorf("%s: a connection was refused: %v", who, err)
			return
		}
	}
	if k.knocks < 2 {
		t.Errorf("%s: only %d connections were tried", who, k.knocks)
	}
}

// Each process is killed in turn. It is started again, no listener ever
// refuses, and only its own sessions end.
func TestKilledProcessesAreStartedAgain(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix"})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Deliver: "lmtp:unix:" + mb.LMTPSocket, Auth: mb.AuthSocket})
	const (
		inMail  = 1 << iota // sessions in the mail process
		inLogin             // relayed by, or before their login in, imap-login
		inMTA
	)
	for _, victim := range []struct {
		of    *harness.Process
		title string
		costs int
		log   string
		death string
	}{
		{mb.Process, "dovecot/auth", 0, mb.Log, "auth: Fatal: master: service(auth): child %d killed with signal 9"},
		{mb.Process, "dovecot/pop3-login", 0, mb.Log, "pop3-login: Fatal: master: service(pop3-login): child %d killed with signal 9"},
		{mb.Process, "dovecot/imap-login", inLogin, mb.Log, "imap-login: Fatal: master: service(imap-login): child %d killed with signal 9"},
		{mb.Process, "dovecot/lmtp", inMail, mb.Log, "lmtp: Fatal: master: service(lmtp): child %d killed with signal 9"},
		{tr.Process, "postfix/mta", inMTA, tr.Log, "warning: process postfix/mta pid %d killed by signal 9"},
	} {
		t.Run(strings.ReplaceAll(victim.title, "/", "-"), func(t *testing.T) {
			selected := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
			greeted := harness.Connect(t, mb.IMAP)
			mail := harness.Connect(t, tr.SMTP)
			mail.Expect(t, "EHLO client.example.org", "250")
			mail.Expect(t, "MAIL FROM:<sender@example.org>", "250")
			doors := map[string]*knocker{
				"IMAP": knock(t, mb.IMAP), "POP3": knock(t, mb.POP3), "LMTP": knock(t, mb.LMTP), "LMTP socket": knock(t, mb.LMTPSocket), "SMTP": knock(t, tr.SMTP),
			}
			before := victim.of.Child(t, victim.title)
			skip := size(victim.log)
			syscall.Kill(before, syscall.SIGKILL)
			harness.Eventually(t, "new "+victim.title, func() bool {
				all := victim.of.Children(victim.title)
				return len(all) == 1 && all[0] != before
			})
			logged(t, victim.log, fmt.Sprintf(victim.death, before), skip)

			_, _, err := selected.IMAP("NOOP")
			if lives, should := err == nil, victim.costs&inMail == 0; lives != should {
				t.Errorf("session with a mailbox: %v", err)
			}
			// Sessions that begin anew, on all ways, work.
			if victim.costs&inLogin == 0 {
				if err := greeted.Login(1); err != nil {
					t.Errorf("login of a client that was greeted before: %v", err)
				}
			}
			if _, err := mail.Ask("RCPT TO:<" + harness.User(0) + ">"); (err == nil) != (victim.costs&inMTA == 0) {
				t.Errorf("SMTP session: %v", err)
			}
			deliverable(t, mb, tr)
			for name, k := range doors {
				k.open(t, name)
			}
		})
	}
}

// deliverable sends a message with AUTH and waits until it can be read.
func deliverable(t *testing.T, mb *harness.Mailbox, tr *harness.Transport) {
	t.Helper()
	reader := harness.ConnectIMAP(t, mb.IMAP, 1, "INBOX")
	defer reader.Close()
	untagged, _ := reader.Must(t, "STATUS INBOX (UIDNEXT)")
	harness.Run(t, "", "swaks", "--server", tr.Submission, "--from", harness.User(0), "--to", harness.User(1), "-n",
		"--auth", "PLAIN", "--auth-user", harness.User(0), "--auth-password", harness.Password)
	harness.Eventually(t, "delivery", func() bool {
		now, _ := reader.Must(t, "STATUS INBOX (UIDNEXT)")
		return strings.Join(now, "") != strings.Join(untagged, "")
	})
}
