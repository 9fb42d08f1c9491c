package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// appends returns a benchmark of APPEND over kept connections, each of another user with the
// given mail_location.
func appends(location string) func(e *env, p harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 {
		mb := e.mailboxesAt(p, connections, location)
		text := appendText()
		command := fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text)
		var n atomic.Int64
		var begin time.Time
		run := func(d time.Duration) time.Duration {
			begin = time.Now()
			n.Store(0)
			work := newGroup(e.ctx)
			for i := range connections {
				work.run(func() error {
					c, err := login(work.ctx, mb.IMAP, i)
					if err != nil {
						return err
					}
					defer c.Close()
					for time.Since(begin) < d && !work.over() {
						if err := c.command("b", command); err != nil {
							return err
						}
						n.Add(1)
					}
					return nil
				})
			}
			e.check(work.wait())
			return time.Since(begin)
		}
		run(warmUp)
		elapsed := run(e.duration)
		return []float64{float64(n.Load()) / elapsed.Seconds()}
	}
}

func appendText() string {
	line := strings.Repeat("0123456789", 7) + "\r\n"
	return "From: a@example.org\r\nSubject: benchmark\r\n\r\n" + strings.Repeat(line, messageSize/len(line))
}

// mailboxesAt is mailboxes with a mail_location.
func (e *env) mailboxesAt(p harness.Program, n int, location string) *harness.Mailbox {
	return harness.StartMailbox(e, p, harness.MailboxOptions{Users: n, SocketUser: "postfix", Location: location})
}

// bigMailbox is how many messages the mailbox of largeMailbox has, which begins with
// bigFirst: a file can have only so many links.
const (
	bigMailbox = 200_000
	bigFirst   = 10
)

// largeMailbox measures how often per second a mailbox of 200,000 messages can be opened and the
// flags of all be fetched, each time by a new session, and the memory that one takes.
func largeMailbox(e *env, p harness.Program) []float64 {
	mb := e.mailboxesAt(p, 1, "")
	c, err := login(e.ctx, mb.IMAP, 0)
	e.check(err)
	defer c.Close()
	text := appendText()
	for range bigFirst {
		e.check(c.command("b", fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text)))
	}
	e.check(c.command("b", "SELECT INBOX"))
	for have := bigFirst; have < bigMailbox; {
		n := min(have, bigMailbox-have)
		e.check(c.command("b", fmt.Sprintf("COPY 1:%d INBOX", n)))
		have += n
		e.check(c.command("b", "NOOP"))
	}
	e.check(c.command("b", "LOGOUT"))
	mb.Stop()
	mb.Start(e)

	before := e.settled(mb.Process)
	open := func() *client {
		c, err := login(e.ctx, mb.IMAP, 0)
		e.check(err)
		e.check(c.command("b", "SELECT INBOX"))
		e.check(c.command("b", "FETCH 1:* (FLAGS)"))
		return c
	}
	first := open()
	memory := e.settled(mb.Process) - before
	first.Close()
	begin, n := time.Now(), 0
	for ; time.Since(begin) < e.duration; n++ {
		open().Close()
	}
	return []float64{float64(n) / time.Since(begin).Seconds(), float64(memory) / (1 << 20)}
}
