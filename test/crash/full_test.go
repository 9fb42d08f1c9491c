package crash

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// The disk of the queue is full: new mail is put off, what was acknowledged is
// kept over a crash and delivered, and with space there is service again.
func TestFullQueueDisk(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{Users: 2, SocketUser: "postfix"}) // starts later
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Deliver: "lmtp:unix:" + mb.LMTPSocket,
		// Without a size limit smtpd does not look for space beforehand, and the
		// queue runs into the wall itself.
		Main: "message_size_limit = 0\nvirtual_mailbox_limit = 0\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\n",
	})
	spool := filepath.Join(tr.Dir, "spool")
	harness.SmallDisk(t, spool, 24)
	tr.Start(t)
	l := &load{ledger: newLedger()}
	n := 0
	send := func() fate {
		n++
		id := fmt.Sprint("disk-", n)
		c := harness.Connect(t, tr.SMTP)
		defer c.Close()
		c.Expect(t, "EHLO client.example.org", "250")
		sendSMTP2(t, l, c, id)
		return l.fates[id]
	}
	for range 20 {
		if f := send(); f != accepted {
			t.Fatalf("a message was %v while there is space", f)
		}
	}
	release := harness.FillDisk(t, spool)
	for refusals := 0; refusals < 5; {
		if send() == refused {
			refusals++
		}
	}
	for reply := range l.refusals {
		if !strings.HasPrefix(reply, "452 4.3.1 ") {
			t.Errorf("a full disk is answered with %q", reply)
		}
	}
	tr.KillAll()
	tr.Start(t)
	if send() != refused {
		t.Error("a message was accepted by a new process while the disk is full")
	}
	mb.Start(t)
	tr.Postqueue(t, "-f")
	tr.Empty(t)
	release()
	for range 20 {
		if f := send(); f != accepted {
			t.Fatalf("a message was %v after there is space again", f)
		}
	}
	tr.Empty(t)
	found := make(map[string]int)
	read(t, mb, 0, found)
	if extra := l.compare(t, found); extra > 0 {
		t.Errorf("%d messages are there twice", extra)
	}
}

// sendSMTP2 is sendSMTP on a server that must not fail; a refusal may come at MAIL
// already.
func sendSMTP2(t *testing.T, l *load, c *harness.Client, id string) {
	t.Helper()
	reply, err := c.Ask("MAIL FROM:<sender@example.org>")
	if err == nil && strings.HasPrefix(reply, "4") {
		l.refuse(id, reply)
		return
	}
	c.Expect(t, "RSET", "250")
	if !sendSMTP(l, c, id, "sender@example.org", harness.User(0)) {
		t.Fatalf("message %s: the connection was lost (%q, %v)", id, reply, err)
	}
}

// The disk of the mail is full: deliveries and APPEND are refused, the mailbox
// stays whole and readable, and with space there is service again.
func TestFullMailDisk(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{Users: 1})
	harness.SmallDisk(t, mb.Mail, 4)
	mb.Start(t)
	l := &load{ledger: newLedger()}
	n := 0
	deliver := func() (reply string) {
		n++
		id := fmt.Sprint("disk-", n)
		c := harness.Connect(t, mb.LMTP)
		defer c.Close()
		c.Expect(t, "LHLO client.example.org", "250")
		c.Expect(t, "MAIL FROM:<sender@example.org>", "250")
		c.Expect(t, "RCPT TO:<"+harness.User(0)+">", "250")
		c.Expect(t, "DATA", "354")
		c.Put(letter(id) + ".\r\n")
		reply, err := c.Reply()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(reply, "250") {
			l.note(id, accepted)
		} else {
			l.refuse(id, reply)
		}
		return reply
	}
	session := harness.Connect(t, mb.IMAP)
	if err := session.Login(0); err != nil {
		t.Fatal(err)
	}
	put := func(id string) error {
		text := letter(id)
		session.Put(fmt.Sprintf("x APPEND INBOX {%d+}\r\n%s\r\n", len(text), text))
		_, _, err := session.Responses("x ")
		if err == nil {
			l.note(id, accepted)
		} else if errors.Is(err, io.EOF) {
			t.Fatal(err)
		} else {
			l.refuse(id, err.Error())
		}
		return err
	}
	for range 10 {
		if reply := deliver(); !strings.HasPrefix(reply, "250") {
			t.Fatalf("delivery with space left: %s", reply)
		}
	}
	release := harness.FillDisk(t, mb.Mail)
	reply := ""
	for refusals := 0; refusals < 5; {
		if reply = deliver(); !strings.HasPrefix(reply, "250") {
			refusals++
		}
	}
	if want := "452 4.3.1 <" + harness.User(0) + "> Not enough disk space"; reply != want {
		t.Errorf("delivery with a full disk: %s, want %s", reply, want)
	}
	if err := put("append-full"); err == nil || !strings.HasPrefix(err.Error(), "NO [OVERQUOTA] Not enough disk space") {
		t.Errorf("APPEND with a full disk: %v", err)
	}
	found := make(map[string]int)
	read(t, mb, 0, found)
	l.compare(t, found)
	release()
	for range 10 {
		if reply := deliver(); !strings.HasPrefix(reply, "250") {
			t.Errorf("delivery with space again: %s", reply)
		}
	}
	if err := put("append-again"); err != nil {
		t.Errorf("APPEND with space again: %v", err)
	}
	mb.Stop()
	mb.Start(t)
	clear(found)
	read(t, mb, 0, found)
	if extra := l.compare(t, found); extra > 0 {
		t.Errorf("%d messages are there twice", extra)
	}
}
