package pop3

import (
	"bytes"
	"context"
	"strconv"
)

func (c *session) cmdCapa(context.Context, []byte) { c.out.string(okCapa) }

func (c *session) cmdNoop(context.Context, []byte) { c.out.string(okPlain) }

func (c *session) cmdStat(context.Context, []byte) {
	c.out.string("+OK ")
	c.out.int(int64(len(c.msgs) - c.deleted))
	c.out.string(" ")
	c.out.int(c.total)
	c.out.string("\r\n")
}

func (c *session) cmdList(_ context.Context, args []byte) {
	if len(args) > 0 {
		if m, n, ok := c.onlyMessage(args); ok {
			c.out.string("+OK ")
			c.scanListing(n, m)
		}
		return
	}
	c.out.string("+OK ")
	c.out.int(int64(len(c.msgs) - c.deleted))
	c.out.string(" messages:\r\n")
	for i := range c.msgs {
		if m := &c.msgs[i]; !m.deleted {
			c.scanListing(i+1, m)
		}
	}
	c.out.string(".\r\n")
}

// scanListing writes what RFC 1939 5 calls so: number and size.
func (c *session) scanListing(n int, m *entry) {
	c.out.int(int64(n))
	c.out.string(" ")
	c.out.int(m.size)
	c.out.string("\r\n")
}

func (c *session) cmdLast(context.Context, []byte) {
	if !c.set.EnableLast {
		c.fail("Unknown command: ", []byte("LAST"))
		return
	}
	c.out.string("+OK ")
	c.out.int(int64(c.last))
	c.out.string("\r\n")
}

func (c *session) cmdDele(_ context.Context, args []byte) {
	m, _, ok := c.onlyMessage(args)
	if !ok {
		return
	}
	m.deleted = true
	c.deleted++
	c.total -= m.size
	c.stats.deletedCount++
	c.stats.deletedBytes += m.size
	c.out.string(okMarked)
}

func (c *session) cmdRset(context.Context, []byte) {
	for i := range c.msgs {
		m := &c.msgs[i]
		if m.deleted {
			c.total += m.size
		}
		m.deleted, m.seen = false, false
	}
	c.deleted, c.seen = 0, 0
	c.stats.deletedCount, c.stats.deletedBytes = 0, 0
	if c.set.EnableLast {
		// RFC 1460: RSET resets the highest number accessed, which is kept as \Seen.
		c.last, c.unsee = 0, true
	}
	c.out.string(okPlain)
}

func (c *session) cmdRetr(_ context.Context, args []byte) {
	m, n, ok := c.onlyMessage(args)
	if !ok {
		return
	}
	c.stats.retrCount++
	if !m.wasSeen && !m.seen && !c.set.NoFlagUpdates {
		m.seen = true
		c.seen++
	}
	c.last = max(c.last, n)
	c.send(m, n, allLines, &c.stats.retrBytes)
}

func (c *session) cmdTop(_ context.Context, args []byte) {
	m, n, rest, ok := c.message(args)
	if !ok {
		return
	}
	rest = bytes.TrimPrefix(rest, []byte{' '})
	if len(rest) == 0 {
		c.fail("Noise after message number: ", nil)
		return
	}
	lines, after, ok := number(rest)
	switch {
	case !ok:
		c.fail("Invalid size: ", rest)
		return
	case len(after) == len(rest):
		c.fail("Size too large: ", rest)
		return
	case len(after) > 0:
		c.fail("Noise after size: ", after)
		return
	}
	c.stats.topCount++
	c.send(m, n, int64(lines), &c.stats.topBytes)
}

func (c *session) cmdUIDL(ctx context.Context, args []byte) {
	u, err := c.newUIDLs()
	if err == nil {
		err = c.uidl(u, args)
	}
	if err == nil {
		c.keepUIDLs(ctx, u)
	}
	if err != nil {
		c.log.Errorf("UIDL: %v", err)
		c.end("", endUIDL) // part of the answer may be out: only closing tells that it failed, as Dovecot does
	}
}

// keepUIDLs has messages keep what was shown, which a failure does not make wrong.
func (c *session) keepUIDLs(ctx context.Context, u *uidls) {
	if err := c.box.SetPOP3UIDLs(context.WithoutCancel(ctx), u.made); err != nil {
		c.log.Errorf("pop3_save_uidl: %v", err)
	}
}

func (c *session) uidl(u *uidls, args []byte) error {
	if u.used != nil {
		if err := c.nameAll(u); err != nil {
			return err
		}
	}
	if len(args) > 0 {
		m, n, ok := c.onlyMessage(args)
		if !ok {
			return nil
		}
		c.out.string("+OK ")
		return c.uniqueListing(u, n, m)
	}
	c.out.string(okPlain)
	for i := range c.msgs {
		if m := &c.msgs[i]; !m.deleted {
			if err := c.uniqueListing(u, i+1, m); err != nil {
				return err
			}
		}
	}
	c.out.string(".\r\n")
	return nil
}

// nameAll makes the unique-ids of all messages, once: with pop3_uidl_duplicates=rename that of each depends on
// those before it, whatever is asked for and was deleted meanwhile.
func (c *session) nameAll(u *uidls) error {
	if c.names != nil {
		return nil
	}
	names := make([]string, len(c.msgs))
	for i := range c.msgs {
		var err error
		if names[i], err = u.of(c.msgs[i].uid); err != nil {
			return err
		}
	}
	c.names = names
	return nil
}

// uniqueListing writes what RFC 1939 7 calls so: number and unique-id.
func (c *session) uniqueListing(u *uidls, n int, m *entry) error {
	var text string
	if c.names != nil {
		text = c.names[n-1]
	} else {
		var err error
		if text, err = u.of(m.uid); err != nil {
			return err
		}
	}
	c.out.buf = strconv.AppendInt(c.out.buf, int64(n), 10)
	c.out.string(" ")
	c.out.string(text)
	c.out.string("\r\n")
	return nil
}

func (c *session) cmdQuit(ctx context.Context, _ []byte) {
	deleted := c.deleted > 0
	if err := c.update(context.WithoutCancel(ctx)); err != nil {
		c.log.Errorf("QUIT: %v", err)
		c.end("-ERR [SYS/TEMP] "+clientText(err)+"\r\n", endStorage)
		return
	}
	if deleted {
		c.end(okByeDeleted, endLogout)
		return
	}
	c.end(okBye, endLogout)
}
