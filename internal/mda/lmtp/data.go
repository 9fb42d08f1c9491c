package lmtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// cmdData receives a message and delivers it.
func (c *session) cmdData(ctx context.Context, _ []byte) {
	if !c.mayStart() {
		return
	}
	if c.mail.body != nil { // RFC 3030 2: not after BDAT
		c.fail(replyUnknown)
		return
	}
	c.reply(replyData)
	c.flush()
	c.state = stateData
	c.begin()
	// A lone dot between other line ends than CRLF is no end (SMTP smuggling).
	c.in.StartData(smtp.StandardEnd)
	for c.ended == "" {
		piece, err := c.in.ReadData()
		if err == io.EOF { //nolint:errorlint // the reader's own
			c.finish(ctx)
			return
		}
		if err != nil {
			c.contentLost(err)
			return
		}
		c.take(piece)
	}
}

// mayStart checks that there is a message to receive content for.
func (c *session) mayStart() bool {
	switch {
	case c.mail == nil:
		c.fail(replyNeedMail)
	case len(c.mail.rcpts) == 0:
		c.fail(replyNoRcpt)
	default:
		return true
	}
	return false
}

// begin makes a buffer with the header lines of this server.
func (c *session) begin() {
	c.mail.body = newContent(c.srv.set.TempDir)
	c.take(c.appendHeader(nil))
	c.mail.headerLen = c.mail.body.size
}

// take adds a piece of the message. If that fails, the rest is read and dropped,
// and every recipient gets the reason.
func (c *session) take(piece []byte) {
	if c.mail.failed != nil {
		return
	}
	if _, err := c.mail.body.Write(piece); err != nil {
		c.keepFailed(err)
	}
}

func (c *session) keepFailed(err error) {
	c.srv.log.Errorf("%v", err)
	c.mail.failed = &smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 0}, Text: replyInternal.Text}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		c.mail.failed = &smtp.Reply{Code: 452, Enhanced: smtp.Enhanced{4, 3, 1}, Text: noSpace}
	}
}

// contentLost ends a session whose client went away, or was too slow, within
// the content.
func (c *session) contentLost(err error) {
	if c.stopping.Load() || errors.Is(err, syscall.ETIMEDOUT) {
		c.readFailed(err)
		return
	}
	c.readFailed(err)
	if c.ended == endClosed {
		c.ended = endClosed + " (unfinished DATA command)"
	}
}

// cmdBdat receives a chunk of a message (RFC 3030) and, with LAST, delivers it.
func (c *session) cmdBdat(ctx context.Context, args []byte) {
	size, last, reply := parseBdat(args)
	if reply != nil {
		c.fail(*reply) // the chunk, whatever its size, is read as commands
		return
	}
	if !c.mayStart() {
		if err := c.in.SkipChunk(size); err != nil {
			c.readFailed(err)
		}
		return
	}
	c.state = stateData
	if c.mail.body == nil {
		c.begin()
		c.in.StartChunks()
	}
	left := size
	for {
		piece, err := c.in.ReadChunk(&left)
		if err == io.EOF { //nolint:errorlint // the reader's own
			break
		}
		if err != nil {
			c.contentLost(err)
			return
		}
		c.take(piece)
	}
	if last {
		c.finish(ctx)
		return
	}
	c.reply(smtp.Reply{Code: 250, Enhanced: smtp.Enhanced{2, 0, 0},
		Text: "Added " + strconv.FormatInt(size, 10) + " octets"})
}

func parseBdat(args []byte) (size int64, last bool, reply *smtp.Reply) {
	number, marker, _ := bytes.Cut(args, []byte{' '})
	n, err := strconv.ParseUint(string(number), 10, 62)
	switch {
	case err != nil:
		return 0, false, &replyChunkSize
	case len(marker) > 0 && !bytes.EqualFold(marker, []byte("LAST")):
		return 0, false, &replyChunkMarker
	}
	return int64(n), len(marker) > 0, nil
}

// finish delivers the message to its recipients and answers for each, in the
// order they were given.
func (c *session) finish(ctx context.Context) {
	m := c.mail
	if m.failed == nil {
		if err := m.body.finish(); err != nil {
			c.keepFailed(err)
		}
	}
	replies := make([]smtp.Reply, len(m.rcpts))
	if m.failed == nil {
		c.sendProxied(replies)
	}
	for i := range m.rcpts {
		r := &m.rcpts[i]
		switch {
		case m.failed != nil:
			replies[i] = smtp.Reply{Code: m.failed.Code, Enhanced: m.failed.Enhanced, Text: "<" + r.address + "> " + m.failed.Text}
		case r.same >= 0:
			replies[i] = replies[r.same] // one copy is enough
		case r.proxied != nil: // done
		default:
			replies[i] = c.save(ctx, r)
		}
		c.reply(replies[i])
	}
	c.reset()
}
