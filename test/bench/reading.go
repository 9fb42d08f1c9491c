package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Readers read at once, each his own INBOX.
const (
	readers      = 4
	readMessages = 2000 // in each INBOX
)

// reading returns a benchmark of an IMAP command about all messages of a mailbox, given again and
// again by several clients. Commands take turns; what is counted is messages.
func reading(commands ...string) func(*env, harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 {
		mb := e.library(p)
		clients := e.selectAll(mb)
		e.repeat(clients, warmUp, commands)
		begin := time.Now()
		n := e.repeat(clients, e.duration, commands)
		return []float64{float64(n) * readMessages / time.Since(begin).Seconds()}
	}
}

// firstReading is reading of messages that nobody has asked about yet, once.
func firstReading(command string) func(*env, harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 {
		mb := e.library(p)
		mb.Stop()
		mb.Start(e)
		clients := e.selectAll(mb)
		begin := time.Now()
		n := e.repeat(clients, 0, []string{command})
		return []float64{float64(n) * readMessages / time.Since(begin).Seconds()}
	}
}

// library starts a mailbox service whose readers have messages of several parts.
func (e *env) library(p harness.Program) *harness.Mailbox {
	mb := e.mailboxes(p, readers, "")
	work := newGroup(e.ctx)
	for i := range readers {
		work.run(func() error {
			c, err := login(work.ctx, mb.IMAP, i)
			if err != nil {
				return err
			}
			defer c.Close()
			for n := range readMessages {
				text := partsText(n)
				if err := c.command("b", fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text)); err != nil {
					return err
				}
			}
			return c.command("b", "LOGOUT")
		})
	}
	e.check(work.wait())
	return mb
}

// partsText is a message of a text in two forms and an attachment.
func partsText(n int) string {
	line := strings.Repeat("0123456789 ", 6) + "\r\n"
	text := fmt.Sprintf("From: \"Sender %d\" <sender%[1]d@example.org>\r\nTo: Reader <reader@example.test>, =?utf-8?q?J=C3=B6rg?= <joerg@example.test>\r\n"+
		"Cc: <list@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= %[1]d\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%[1]d@example.org>\r\n"+
		"In-Reply-To: <%[1]d.before@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n"+
		"--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n"+
		"--inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nShort text.\r\n"+
		"--inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Short text.</p>\r\n--inner--\r\n"+
		"--outer\r\nContent-Type: application/octet-stream; name=\"table.csv\"\r\nContent-Disposition: attachment; filename=\"table.csv\"\r\n\r\n", n)
	return text + strings.Repeat(line, (messageSize-len(text))/len(line)) + "--outer--\r\n"
}

// selectAll logs the readers in and selects their INBOXes.
func (e *env) selectAll(mb *harness.Mailbox) []*client {
	var clients []*client
	for i := range readers {
		c, err := login(e.ctx, mb.IMAP, i)
		e.check(err)
		e.Cleanup(func() { c.Close() })
		e.check(c.command("b", "SELECT INBOX"))
		e.check(c.command("b", fmt.Sprint("FETCH ", readMessages, " UID"))) // all are there
		clients = append(clients, c)
	}
	return clients
}

// repeat has all clients give the commands in turn for a while, each at least once, and returns how
// many were given.
func (e *env) repeat(clients []*client, d time.Duration, commands []string) int64 {
	begin := time.Now()
	var n atomic.Int64
	work := newGroup(e.ctx)
	for _, c := range clients {
		work.run(func() error {
			for i := 0; i == 0 || time.Since(begin) < d && !work.over(); i++ {
				if err := c.discard(commands[i%len(commands)]); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	e.check(work.wait())
	return n.Load()
}

// discard gives a command and reads until its tagged OK without looking at what comes before: a
// client that took lines apart would be what is measured.
func (c *client) discard(command string) error {
	c.out = append(append(append(c.out[:0], "c "...), command...), "\r\n"...)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	if c.sink == nil {
		c.sink = make([]byte, 256<<10)
	}
	for have := 0; ; {
		n, err := c.Read(c.sink[have:])
		if err != nil {
			return err
		}
		have += n
		text := c.sink[:have]
		last := text[bytes.LastIndexByte(text[:max(0, have-1)], '\n')+1:]
		whole := text[have-1] == '\n'
		switch {
		case whole && !bytes.HasPrefix(last, []byte("c ")):
			have = 0
		case !whole:
			have = copy(c.sink, last[:min(len(last), 100)]) // the beginning is enough to tell what it is
		case bytes.HasPrefix(last, []byte("c OK")):
			return nil
		default:
			return fmt.Errorf("%s: the server says %q", command, last)
		}
	}
}

// retrieving measures how many messages POP3 clients get, one after the other, in sessions that
// get all that there are.
func retrieving(e *env, p harness.Program) []float64 {
	mb := e.library(p)
	e.retrieve(mb.POP3, warmUp)
	begin := time.Now()
	n := e.retrieve(mb.POP3, e.duration)
	return []float64{float64(n) / time.Since(begin).Seconds()}
}

func (e *env) retrieve(addr string, d time.Duration) int64 {
	deadline := time.Now().Add(d)
	var n atomic.Int64
	work := newGroup(e.ctx)
	for i := range readers {
		work.run(func() error {
			for time.Now().Before(deadline) && !work.over() {
				if err := retrieveAll(work.ctx, addr, i, deadline, &n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	e.check(work.wait())
	return n.Load()
}

// retrieveAll is one session. It counts the messages that it got.
func retrieveAll(ctx context.Context, addr string, user int, deadline time.Time, n *atomic.Int64) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.until("+OK"); err != nil {
		return err
	}
	for _, line := range []string{"USER " + harness.User(user), "PASS " + harness.Password} {
		if err := c.ask(line); err != nil {
			return err
		}
	}
	for i := 1; i <= readMessages && time.Now().Before(deadline); i++ {
		if err := c.ask(fmt.Sprint("RETR ", i)); err != nil {
			return err
		}
		for {
			line, err := c.in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if bytes.Equal(line, []byte(".\r\n")) {
				break
			}
		}
		n.Add(1)
	}
	return c.ask("QUIT")
}

// ask gives a POP3 command that is to succeed.
func (c *client) ask(line string) error {
	c.out = append(append(c.out[:0], line...), "\r\n"...)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	answer, err := c.in.ReadSlice('\n')
	if err == nil && !bytes.HasPrefix(answer, []byte("+OK")) {
		err = fmt.Errorf("%s: the server says %q", line, answer)
	}
	return err
}
