package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Sessions of the memory benchmark. The original, a process for each, is
// proportional to their number, so fewer do.
const (
	idleSessions         = 1000
	idleSessionsOriginal = 200
	idleMessages         = 10 // in each INBOX
)

// idleMemory measures the memory of a session that waits for mail, each of
// another user.
func idleMemory(e *env, p harness.Program) []float64 {
	n := idleSessions
	if p == harness.Original {
		n = idleSessionsOriginal
	}
	mb := e.mailboxes(p, n, "")
	e.fill(mb, n)
	mb.Stop()
	mb.Start(e)
	before := e.settled(mb.Process)
	work := newGroup(e.ctx)
	for i := range connections {
		work.run(func() error {
			for user := i; user < n && !work.over(); user += connections {
				c, err := login(work.ctx, mb.IMAP, user)
				if err != nil {
					return err
				}
				e.Cleanup(func() { c.Close() })
				if err := c.idle(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	e.check(work.wait())
	return []float64{float64(e.settled(mb.Process)-before) / 1024 / float64(n)}
}

// idle selects the INBOX and waits for what happens there.
func (c *client) idle() error {
	if err := c.command("b", "SELECT INBOX"); err != nil {
		return err
	}
	if _, err := c.Write([]byte("c IDLE\r\n")); err != nil {
		return err
	}
	return c.until("+ idling")
}

// fill puts messages into the INBOX of each user, one transaction for many.
func (e *env) fill(mb *harness.Mailbox, n int) {
	const recipients = 50
	c, err := dial(e.ctx, mb.LMTP)
	e.check(err)
	defer c.Close()
	e.check(c.expect("220"))
	c.out = []byte("LHLO client.example.test\r\n")
	e.check(c.exchange("250"))
	for first := 0; first < n; first += recipients {
		last := min(first+recipients, n)
		for range idleMessages {
			c.out = append(c.out[:0], "MAIL FROM:<sender@example.org>\r\n"...)
			e.check(c.exchange("250"))
			for user := first; user < last; user++ {
				c.out = fmt.Appendf(c.out[:0], "RCPT TO:<%s>\r\n", harness.User(user))
				e.check(c.exchange("250"))
			}
			c.out = append(c.out[:0], "DATA\r\n"...)
			e.check(c.exchange("354"))
			c.out = append(c.out[:0], "Subject: message\r\n\r\nfor all\r\n.\r\n"...)
			e.check(c.exchange(make250(last - first)...))
		}
	}
}

func make250(n int) []string {
	want := make([]string, n)
	for i := range want {
		want[i] = "250"
	}
	return want
}

// settled returns the memory of a service, in bytes, when it has stopped to
// change: all processes have started, and what a burst of work needed has been
// given back.
func (e *env) settled(p *harness.Process) int64 {
	const calm, patience = 5 * time.Second, 30 * time.Second
	begin := time.Now()
	last, since := pss(p), begin
	for time.Since(since) < calm && time.Since(begin) < patience {
		select {
		case <-e.ctx.Done():
			e.check(e.ctx.Err())
		case <-time.After(calm / 10):
		}
		if now := pss(p); max(now-last, last-now) > last/100 {
			last, since = now, time.Now()
		}
	}
	return last
}

// pss is the proportional set size of a process and its descendants.
func pss(p *harness.Process) int64 {
	var sum int64
	for _, d := range descendants(p.Cmd.Process.Pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", d.pid))
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), "\nPss:")
		kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, err := strconv.ParseInt(kb, 10, 64)
		if err == nil {
			sum += n << 10
		}
	}
	return sum
}
