package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// waitLimit bounds how long a client waits for what another one did through the other server. A
// server that only looks now and then does so after idleCheck: it is not heard of in time.
const (
	waitLimit = time.Minute
	idleCheck = "mailbox_idle_check_interval = 10 mins\n"
)

// A client that idles with one server hears at once of what others do with the other.
func TestTogetherIdle(t *testing.T) {
	for _, f := range formats("DOVETAIL_LOAD") {
		t.Run(f.name, func(t *testing.T) {
			p := newPair(t, harness.MailboxOptions{Location: f.location, Extra: pairSettings + idleCheck})
			for waiting := range p.servers {
				t.Run(serverNames()[waiting], func(t *testing.T) { p.idle(t, waiting) })
			}
			if err := p.complaints(); err != nil {
				t.Error(err)
			}
		})
	}
}

// idle has user n, whose session idles with server n, hear of things.
func (p *pair) idle(t *testing.T, n int) {
	other := p.servers[1-n]
	waits := harness.ConnectIMAP(t, p.servers[n].IMAP, n, "INBOX")
	works := harness.ConnectIMAP(t, other.IMAP, n, "INBOX")
	// Dovecot looks for changes of flags in an mbox only every half minute, its own as well.
	slow := n == 1 && strings.HasPrefix(other.Location, "mbox")
	for _, step := range []struct {
		what, want string
		do         func()
	}{
		{"APPEND", "* 1 EXISTS", func() { works.Must(t, "APPEND INBOX {9+}\r\na: b\r\n\r\nc") }},
		{"LMTP", "* 2 EXISTS", func() { deliverTo(t, other, n) }},
		{"STORE", "* 1 FETCH ", func() { works.Must(t, `STORE 1 +FLAGS (\Flagged)`) }},
		{"keyword", "* 2 FETCH ", func() { works.Must(t, `STORE 2 +FLAGS (new)`) }},
		{"COPY", "* 3 EXISTS", func() { works.Must(t, "COPY 1 INBOX") }},
		{"EXPUNGE", "* 1 EXPUNGE", func() { works.Must(t, `STORE 1 +FLAGS.SILENT (\Deleted)`); works.Must(t, "EXPUNGE") }},
		{"MOVE", "* 1 EXPUNGE", func() { works.Must(t, "MOVE 1 Archive") }},
	} {
		if slow && strings.HasSuffix(step.want, " FETCH ") {
			continue
		}
		if err := waits.Put("i IDLE\r\n"); err != nil {
			t.Fatal(err)
		}
		await(t, waits, "+ ")
		step.do()
		done := time.Now()
		seen := make(chan struct{})
		go func() {
			defer close(seen)
			for {
				if line, err := waits.Line(); err != nil || strings.HasPrefix(line, step.want) {
					return
				}
			}
		}()
		select {
		case <-seen:
			t.Logf("%s was heard of after %v", step.what, time.Since(done).Round(time.Millisecond))
		case <-time.After(waitLimit):
			t.Errorf("%s was not heard of after %v", step.what, waitLimit)
			waits.Close()
			<-seen
			return
		}
		if err := waits.Put("DONE\r\n"); err != nil {
			t.Fatal(err)
		}
		await(t, waits, "i OK")
		works.Must(t, "NOOP")
	}
}

// deliverTo sends a message to user n.
func deliverTo(t *testing.T, mb *harness.Mailbox, n int) {
	t.Helper()
	c := harness.Connect(t, mb.LMTP)
	defer c.Close()
	c.Expect(t, "LHLO client", "250")
	c.Expect(t, "MAIL FROM:<sender@example.org>", "250")
	c.Expect(t, fmt.Sprintf("RCPT TO:<%s>", harness.User(n)), "250")
	c.Expect(t, "DATA", "354")
	c.Expect(t, "Subject: delivered\r\n\r\ntext\r\n.", "250")
}
