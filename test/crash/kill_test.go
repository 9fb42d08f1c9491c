package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

const (
	users       = 4
	connections = 12
)

// A load is clients that send one numbered message after the other until it
// is stopped, whatever happens to the server.
type load struct {
	*ledger
	stop chan struct{}
	done sync.WaitGroup
}

// startLoad starts the clients. session serves one connection: it sends some
// messages, numbered by next, and returns when the connection is of no use any
// more.
func startLoad(t *testing.T, session func(l *load, worker int, next func() string)) *load {
	l := &load{ledger: newLedger(), stop: make(chan struct{})}
	for worker := range connections {
		l.done.Go(func() {
			n := 0
			next := func() string { n++; return fmt.Sprintf("%d-%d", worker, n) }
			for !l.stopped() {
				session(l, worker, next)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// end stops the load after the messages under way.
func (l *load) end() {
	if !l.stopped() {
		close(l.stop)
	}
	l.done.Wait()
}

// rounds kills one victim after the other, each after some more messages were
// acknowledged and a moment that nobody knows beforehand.
func (l *load) rounds(t *testing.T, victims []victim) {
	t.Helper()
	for _, v := range victims {
		target := l.accepted.Load() + 30 + rand.Int64N(60)
		harness.Eventually(t, "progress before "+v.name+" is killed", func() bool { return l.accepted.Load() >= target })
		time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond)))) // any moment
		v.kill()
	}
	target := l.accepted.Load() + 50
	harness.Eventually(t, "progress after the last kill", func() bool { return l.accepted.Load() >= target })
	l.end()
}

// A victim is something to kill.
type victim struct {
	name string
	kill func()
}

// child is a daemon process, which its master starts again.
func child(t *testing.T, p func() *harness.Process, title string) victim {
	return victim{title, func() { syscall.Kill(p().Child(t, title), syscall.SIGKILL) }}
}

// pause lets a client wait for a server that is down.
func pause() { time.Sleep(5 * time.Millisecond) }

// Mail comes in by SMTP and goes to the mailboxes, and everything is killed,
// again and again.
func TestSMTPUnderKills(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Users: users + 1, SocketUser: "postfix"})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{
		Deliver: "lmtp:unix:" + mb.LMTPSocket, Users: users + 1,
		Main: "minimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\n",
	})
	bounces := harness.User(users) // sends everything, and should get nothing
	l := startLoad(t, func(l *load, worker int, next func() string) {
		c, err := harness.Dial(tr.SMTP)
		if err != nil {
			pause()
			return
		}
		defer c.Close()
		if reply, err := c.Ask("EHLO client.example.org"); err != nil || !strings.HasPrefix(reply, "250") {
			return
		}
		for range 1 + worker%3*4 { // some keep the connection
			if l.stopped() || !sendSMTP(l, c, next(), bounces, harness.User(worker%users)) {
				return
			}
		}
		c.Ask("QUIT")
	})
	mta := child(t, func() *harness.Process { return tr.Process }, "postfix/mta")
	lmtp := child(t, func() *harness.Process { return mb.Process }, "dovecot/lmtp")
	transport := victim{"the transport", func() { tr.KillAll(); tr.Start(t) }}
	mailboxes := victim{"the mailbox service", func() { mb.KillAll(); mb.Start(t) }}
	machine := victim{"everything", func() { tr.KillAll(); mb.KillAll(); mb.Start(t); tr.Start(t) }}
	victims := []victim{mta, lmtp, transport, mailboxes, mta, machine, lmtp, machine, mta}
	l.rounds(t, victims)
	tr.Empty(t)
	found := make(map[string]int)
	for n := range users {
		read(t, mb, n, found)
	}
	extra := l.compare(t, found)
	// A delivery whose acknowledgement was under way is done again: at most one
	// for each connection of the LMTP client (default_destination_concurrency_limit).
	if limit := 20 * len(victims); extra > limit {
		t.Errorf("%d extra copies after %d kills, more than %d deliveries can have been under way", extra, len(victims), limit)
	}
	sentOnce(t, tr.Log)
	returned := make(map[string]int)
	read(t, mb, users, returned)
	if len(returned) > 0 {
		t.Errorf("%d messages were returned to their sender", len(returned))
	}
}

var sentLine = regexp.MustCompile(`: ([0-9A-Za-z]+): to=<.* status=sent `)

// sentOnce checks that no delivery that was logged as done was done again: its
// outcome was in the queue before.
func sentOnce(t *testing.T, log string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, m := range sentLine.FindAllSubmatch(text, -1) {
		id := string(m[1])
		if seen[id] {
			t.Errorf("message %s was sent, and then sent again", id)
		}
		seen[id] = true
	}
	if len(seen) == 0 {
		t.Errorf("no deliveries in %s", log)
	}
}

// sendSMTP sends a message and notes its fate. It reports whether the
// connection is still of use.
func sendSMTP(l *load, c *harness.Client, id, from, to string) bool {
	l.note(id, unsent)
	for _, step := range []struct{ command, want string }{
		{"MAIL FROM:<" + from + ">", "250"}, {"RCPT TO:<" + to + ">", "250"}, {"DATA", "354"},
	} {
		if reply, err := c.Ask(step.command); err != nil || !strings.HasPrefix(reply, step.want) {
			return false
		}
	}
	if c.Put(letter(id)+".\r\n") != nil {
		return false
	}
	l.note(id, unknown)
	reply, err := c.Reply()
	switch {
	case err != nil:
		return false
	case strings.HasPrefix(reply, "250 2.0.0 Ok: queued as "):
		l.note(id, accepted)
	default:
		l.refuse(id, reply)
	}
	return true
}

// LMTP answers for each recipient. No client sends anything twice, so nothing may be
// there twice.
func TestLMTPUnderKills(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Users: users})
	l := startLoad(t, func(l *load, worker int, next func() string) {
		addr := mb.LMTP
		if worker%2 == 0 {
			addr = mb.LMTPSocket
		}
		c, err := harness.Dial(addr)
		if err != nil {
			pause()
			return
		}
		defer c.Close()
		if reply, err := c.Ask("LHLO client.example.org"); err != nil || !strings.HasPrefix(reply, "250") {
			return
		}
		for range 5 {
			if l.stopped() || !sendLMTP(l, c, next()) {
				return
			}
		}
	})
	lmtp := child(t, func() *harness.Process { return mb.Process }, "dovecot/lmtp")
	service := victim{"the mailbox service", func() { mb.KillAll(); mb.Start(t) }}
	l.rounds(t, []victim{lmtp, service, lmtp, lmtp, service, lmtp, service, lmtp})
	found := make(map[string]int)
	for n := range users {
		mine := make(map[string]int)
		read(t, mb, n, mine)
		for id, copies := range mine {
			found[fmt.Sprint(id, " for ", harness.User(n))] += copies
		}
	}
	if extra := l.compare(t, found); extra > 0 {
		t.Errorf("%d messages are there twice", extra)
	}
}

// sendLMTP sends a message to all users and notes its fate with each.
func sendLMTP(l *load, c *harness.Client, id string) bool {
	note := func(n int, f fate) { l.note(fmt.Sprint(id, " for ", harness.User(n)), f) }
	for n := range users {
		note(n, unsent)
	}
	if reply, err := c.Ask("MAIL FROM:<sender@example.org>"); err != nil || !strings.HasPrefix(reply, "250") {
		return false
	}
	for n := range users {
		if reply, err := c.Ask("RCPT TO:<" + harness.User(n) + ">"); err != nil || !strings.HasPrefix(reply, "250") {
			return false
		}
	}
	if reply, err := c.Ask("DATA"); err != nil || !strings.HasPrefix(reply, "354") {
		return false
	}
	if c.Put(letter(id)+".\r\n") != nil {
		return false
	}
	for n := range users {
		note(n, unknown)
	}
	for n := range users {
		reply, err := c.Reply()
		switch {
		case err != nil:
			return false
		case strings.HasPrefix(reply, "250 2.0.0 "):
			note(n, accepted)
		default:
			l.refuse(fmt.Sprint(id, " for ", harness.User(n)), reply)
		}
	}
	return true
}
