package pop3

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

const (
	maxLine     = 2048
	maxBad      = 20               // bad commands in a row before the session ends
	idleTimeout = 10 * time.Minute // RFC 1939 3: at least ten minutes
)

// A session serves one client. It belongs to one goroutine.
type session struct {
	srv  *Server
	set  *Settings
	log  *maillog.Logger
	conn net.Conn
	user *store.User
	id   string

	in    *smtp.Reader
	first *prefixConn // what came with the login; nil once it is used up
	out   writer
	ended string // why the session is over; empty while it is not
	bad   int

	workarounds workarounds

	box      *mailbox.Mailbox
	msgs     []entry
	names    []string // unique-ids with pop3_uidl_duplicates=rename, once they were asked for
	deleted  int
	seen     int   // messages that RETR will mark \Seen
	total    int64 // sizes of messages that are not deleted
	last     int   // highest message number read (LAST)
	unsee    bool  // RSET with LAST: take \Seen from all
	stats    stats
	stopping atomic.Bool
}

// An entry is one of the session's messages. Its number is its place, from 1.
type entry struct {
	uid     uint32
	deleted bool
	seen    bool  // becomes \Seen
	wasSeen bool  // has been \Seen before
	size    int64 // as RETR sends it, without dot-stuffing
}

// stats are the variables of pop3_logout_format.
type stats struct {
	topCount, retrCount int
	topBytes, retrBytes int64
	deletedCount        int
	deletedBytes        int64
	total               int
	totalBytes          int64
	input               int64
}

// run serves the client to its end.
func (c *session) run(ctx context.Context, input []byte) {
	c.out.conn = c.conn
	defer func() { c.logEnd() }()
	unlock, ok := c.lock(ctx)
	if !ok {
		return
	}
	defer unlock()
	if !c.openInbox(ctx) {
		return
	}
	defer c.box.Close()
	stop := context.AfterFunc(ctx, func() {
		c.stopping.Store(true)
		c.conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // wakes the reader
	})
	defer stop()
	c.start(input)
	defer c.in.Release()
	c.out.string(okLoggedIn)
	c.loop(ctx)
	if c.ended != endLogout {
		c.leave(context.WithoutCancel(ctx))
	}
	c.out.flush() //nolint:errcheck // the session is over
}

// start makes the reader, which begins with what the client sent before.
func (c *session) start(input []byte) {
	c.in = smtp.NewReader(c.conn, maxLine)
	if len(input) > 0 {
		c.first = &prefixConn{Conn: c.conn, prefix: input}
		c.in.Reset(c.first, maxLine)
	}
	c.in.SetTimeout(idleTimeout)
	c.in.SetStop(&c.stopping)
}

// prefixConn is a connection from which something was read already.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (p *prefixConn) Read(b []byte) (int, error) {
	if len(p.prefix) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.prefix)
	p.prefix = p.prefix[n:]
	return n, nil
}

// loop serves commands until the session ends.
func (c *session) loop(ctx context.Context) {
	for c.ended == "" {
		if c.in.Buffered() == 0 {
			if c.first != nil && len(c.first.prefix) == 0 {
				c.in.Reset(c.conn, maxLine) // the plain socket can be waited for without a buffer
				c.first = nil
			}
			if err := c.out.flush(); err != nil {
				c.ended = endWrite
				return
			}
		}
		line, err := c.in.ReadLine()
		if err != nil {
			c.readFailed(err)
			return
		}
		c.stats.input += int64(len(line)) + 2
		c.command(ctx, line)
	}
}

func (c *session) readFailed(err error) {
	switch {
	case errors.Is(err, smtp.ErrLineTooLong):
		c.end(errTooLong, endTooLong)
	case c.stopping.Load():
		c.end(errShutdown, endShutdown)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end(errIdle, endIdle)
	default:
		c.ended = endClosed
	}
}

func (c *session) end(reply, why string) {
	c.out.string(reply)
	c.ended = why
}

// openInbox opens the mailbox and takes stock of it.
func (c *session) openInbox(ctx context.Context) bool {
	box, err := c.user.Mailbox(ctx, "INBOX")
	if err == nil {
		if err = c.takeStock(ctx, box); err == nil {
			c.box = box
			return true
		}
		box.Close() //nolint:errcheck // nothing was changed
	}
	c.log.Errorf("Couldn't open INBOX: %v", err)
	c.end("-ERR [SYS/TEMP] Couldn't open INBOX: "+clientText(err)+"\r\n", endInbox+": "+clientText(err))
	c.out.flush() //nolint:errcheck // the session is over
	return false
}

// takeStock lists the messages with their sizes.
func (c *session) takeStock(ctx context.Context, box *mailbox.Mailbox) error {
	snap, err := box.Sync(ctx)
	if err != nil {
		return err
	}
	hide := -1
	if c.set.DeletedFlag != "" {
		for k, name := range snap.KeywordNames() {
			if name == c.set.DeletedFlag {
				hide = k
			}
		}
	}
	c.msgs = make([]entry, 0, snap.Len())
	for i := range snap.Len() {
		if hide >= 0 && snap.HasKeyword(i, hide) {
			continue // deleted by an earlier session
		}
		m := entry{uid: snap.UID(i), wasSeen: snap.Flags(i)&mailbox.Seen != 0}
		if m.size, err = c.size(box, m.uid); err != nil {
			if errors.Is(err, mailbox.ErrExpunged) {
				continue
			}
			return err
		}
		c.msgs = append(c.msgs, m)
		c.total += m.size
		if m.wasSeen {
			c.last = len(c.msgs)
		}
	}
	c.stats.total, c.stats.totalBytes = len(c.msgs), c.total
	return nil
}

func (c *session) size(box *mailbox.Mailbox, uid uint32) (int64, error) {
	msg, err := box.Message(uid)
	if err != nil {
		return 0, err
	}
	return msg.VirtualSize()
}

// clientText is what an error says to the client.
func clientText(err error) string {
	var known *store.Error
	switch {
	case errors.Is(err, mailbox.ErrNoSpace):
		return "Not enough disk space"
	case errors.As(err, &known):
		return known.Text
	}
	return textInternal
}

// A command serves one line; the arguments have no leading blanks.
type command func(*session, context.Context, []byte)

// commands are those of the TRANSACTION state.
var commands = map[string]command{
	"CAPA": (*session).cmdCapa,
	"DELE": (*session).cmdDele,
	"LAST": (*session).cmdLast,
	"LIST": (*session).cmdList,
	"NOOP": (*session).cmdNoop,
	"QUIT": (*session).cmdQuit,
	"RETR": (*session).cmdRetr,
	"RSET": (*session).cmdRset,
	"STAT": (*session).cmdStat,
	"TOP":  (*session).cmdTop,
	"UIDL": (*session).cmdUIDL,
}

// maxVerb is longer than any command.
const maxVerb = 8

func (c *session) command(ctx context.Context, line []byte) {
	verb, args, _ := bytes.Cut(line, []byte{' '})
	var name [maxVerb]byte
	serve := commands[string(appendUpper(name[:0], verb))]
	if serve == nil {
		c.out.string("-ERR Unknown command: ")
		c.out.printable(bytes.ToUpper(verb))
		c.out.string("\r\n")
		c.badCommand()
		return
	}
	bad := c.bad
	serve(c, ctx, bytes.TrimLeft(args, " "))
	if c.bad == bad {
		c.bad = 0
	}
}

func (c *session) badCommand() {
	if c.bad++; c.bad > maxBad {
		c.end(errTooBad, endTooBad)
	}
}

// appendUpper appends name in upper case, or nothing if it is too long.
func appendUpper(b, name []byte) []byte {
	if len(name) > cap(b) {
		return b
	}
	for _, ch := range name {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		b = append(b, ch)
	}
	return b
}

// fail refuses a command: the text and what follows it from the client.
func (c *session) fail(text string, arg []byte) {
	c.out.string("-ERR ")
	c.out.string(text)
	c.out.printable(arg)
	c.out.string("\r\n")
	c.badCommand()
}

// number takes a number from the front of args.
func number(args []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for i < len(args) && '0' <= args[i] && args[i] <= '9' {
		i++
	}
	if i == 0 || i < len(args) && args[i] != ' ' {
		return 0, args, false
	}
	n, err := strconv.ParseUint(string(args[:i]), 10, 32)
	if err != nil {
		return 0, args, true
	}
	return n, args[i:], true
}

// message takes a message number, which must be all of args unless more is
// set. It answers when there is no such message.
func (c *session) message(args []byte) (m *entry, n int, rest []byte, ok bool) {
	num, rest, ok := number(args)
	switch {
	case !ok:
		c.fail("Invalid message number: ", args)
		return nil, 0, nil, false
	case num == 0 && len(rest) == len(args):
		c.fail("Message number too large: ", args)
		return nil, 0, nil, false
	case num == 0 || num > uint64(len(c.msgs)):
		c.fail("There's no message ", append(strconv.AppendUint(nil, num, 10), '.'))
		return nil, 0, nil, false
	}
	m = &c.msgs[num-1]
	if m.deleted {
		c.out.string(errDeleted)
		c.badCommand()
		return nil, 0, nil, false
	}
	return m, int(num), rest, true
}

// onlyMessage is message for commands that have no other argument.
func (c *session) onlyMessage(args []byte) (m *entry, n int, ok bool) {
	if num, rest, isNumber := number(args); isNumber && num > 0 && len(rest) > 0 {
		c.fail("Noise after message number: ", rest)
		return nil, 0, false
	}
	m, n, _, ok = c.message(args)
	return m, n, ok
}
