package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// lmtpToMailbox returns a benchmark of deliveries over kept LMTP connections.
func lmtpToMailbox(format string) func(*env, harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 {
		mb := e.dboxes(p, format)
		g := &generator{addr: mb.LMTP, hello: "LHLO"}
		e.createMailboxes(g)
		g.run(e, never, warmUp)
		before := g.sent.Load()
		elapsed := g.run(e, never, e.duration)
		n := g.sent.Load() - before
		e.checkStored(mb, g)
		return []float64{float64(n) / elapsed.Seconds()}
	}
}

// smtpToMailbox returns a benchmark of the way through a transport and the mailbox service
// of the same program.
func smtpToMailbox(format string) func(*env, harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 {
		mb := e.dboxes(p, format)
		tr := harness.StartTransport(e, p, harness.TransportOptions{Deliver: "lmtp:unix:" + mb.LMTPSocket, Users: users})
		log := openLog(e, tr.Log)
		g := &generator{addr: tr.SMTP, hello: "EHLO"}
		e.createMailboxes(g)
		total := users
		rate := e.rate(func(n int) time.Duration {
			begin := time.Now()
			total += n
			g.limited(e, total)
			log.waitSent(e, total)
			return time.Since(begin)
		})
		e.checkStored(mb, g)
		return []float64{rate}
	}
}

// createMailboxes delivers to each user once: the first delivery makes the
// directories.
func (e *env) createMailboxes(g *generator) { g.limited(e, users) }

func never() bool { return false }

// afterText is what dbox has between the text of a message and what it says of it.
var afterText = []byte("\n\x01\x03\n")

// checkStored fails unless as many messages are in sdbox or mdbox mailboxes as were sent.
func (e *env) checkStored(mb *harness.Mailbox, g *generator) {
	files, err := filepath.Glob(filepath.Join(mb.Mail, "*/mail/mailboxes/INBOX/dbox-Mails/u.*"))
	e.check(err)
	stored := len(files)
	files, err = filepath.Glob(filepath.Join(mb.Mail, "*/mail/storage/m.*"))
	e.check(err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		e.check(err)
		stored += bytes.Count(text, afterText)
	}
	if sent := int(g.sent.Load()); stored != sent {
		e.Fatalf("%d messages in the mailboxes, %d were sent", stored, sent)
	}
}

// A generator sends messages to the users in turn, over connections that it
// keeps while it runs.
type generator struct {
	addr  string
	hello string       // LHLO or EHLO
	begun atomic.Int64 // messages
	sent  atomic.Int64 // messages that the server took
}

// limited sends until total messages have been sent since the generator exists.
func (g *generator) limited(e *env, total int) {
	g.run(e, func() bool { return g.begun.Add(1) > int64(total) }, time.Hour)
	g.begun.Store(g.sent.Load())
}

// run sends until enough returns true or the time is over, and returns how long
// it took.
func (g *generator) run(e *env, enough func() bool, d time.Duration) time.Duration {
	begin := time.Now()
	deadline := begin.Add(d)
	work := newGroup(e.ctx)
	for n := range connections {
		work.run(func() error {
			return g.connection(work.ctx, n, func() bool { return work.over() || time.Now().After(deadline) || enough() })
		})
	}
	e.check(work.wait())
	return time.Since(begin)
}

// connection sends messages over one connection until told to stop.
func (g *generator) connection(ctx context.Context, n int, stop func() bool) error {
	c, err := dial(ctx, g.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.expect("220"); err != nil {
		return err
	}
	c.out = append(c.out[:0], g.hello+" client.example.test\r\n"...)
	if err := c.exchange("250"); err != nil {
		return err
	}
	content := message(n)
	for user := n; !stop(); user = (user + connections) % users {
		c.out = fmt.Appendf(c.out[:0], "MAIL FROM:<sender@example.org>\r\nRCPT TO:<%s>\r\nDATA\r\n", harness.User(user))
		if err := c.exchange("250", "250", "354"); err != nil {
			return err
		}
		c.out = append(c.out[:0], content...)
		if err := c.exchange("250"); err != nil {
			return err
		}
		g.sent.Add(1)
	}
	c.out = append(c.out[:0], "QUIT\r\n"...)
	return c.exchange("221")
}

// message returns the content of a message, and the end of data.
func message(n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Sender <sender@example.org>\r\nTo: Recipients of %s <list@%[1]s>\r\nSubject: Benchmark, connection %d\r\n"+
		"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%[2]d@example.org>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=us-ascii\r\n\r\n", harness.Domain, n)
	line := strings.Repeat("0123456789 ", 6) + "\r\n"
	for b.Len()+len(line) <= messageSize {
		b.WriteString(line)
	}
	b.WriteString(".\r\n")
	return b.Bytes()
}

// A client is one connection of a generator.
type client struct {
	net.Conn
	in   *bufio.Reader
	out  []byte // what exchange sends
	sink []byte // where discard reads
}

func dial(ctx context.Context, addr string) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Minute))
	return &client{Conn: conn, in: bufio.NewReader(conn)}, nil
}

// exchange sends c.out and reads as many replies as are wanted, which begin so.
func (c *client) exchange(want ...string) error {
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	for _, w := range want {
		if err := c.expect(w); err != nil {
			return err
		}
	}
	return nil
}

// expect reads one SMTP reply.
func (c *client) expect(want string) error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, []byte(want)) {
			return fmt.Errorf("the server says %q, want %s", line, want)
		}
		if len(line) > 3 && line[3] != '-' {
			return nil
		}
	}
}
