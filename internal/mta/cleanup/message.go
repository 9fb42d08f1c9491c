package cleanup

import (
	"bytes"
	"context"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A Message is one on its way into the queue.
type Message struct {
	c       *Cleanup
	w       Writer
	id      string
	origin  Origin
	arrival time.Time
	err     error // why the message is refused; what follows is dropped

	stage   stage
	header  header // the one under way
	seen    seen
	hops    int
	partial []byte // beginning of a line whose rest has not come
	cut     bool   // the rest of the line is dropped: the header is too long
	cr      bool   // a CR was held back: is it stray?
	scratch []byte

	ctx         context.Context //nolint:containedctx // of the session that Start was called in
	status      status
	refusal     smtp.Reply
	hasReason   bool // the refusal has words of the administrator
	dropped     bool // nothing more goes to the queue
	sender      string
	senderKnown bool
	recipient   string  // the last one, as given
	filter      *filter // nil for content that is not looked at
	autoUTF8    bool    // UTF-8 in headers and addresses makes it an SMTPUTF8 message
	utf8        bool    // which it is
	encoding    string  // as a header says
	inspection
}

// stage is the part of a message that comes next.
type stage uint8

const (
	inHeader stage = iota
	inBody
	finished
)

// begin makes a message that was used before new.
func (m *Message) begin(ctx context.Context, c *Cleanup, w Writer, o Origin, now time.Time) {
	*m = Message{
		c: c, w: w, id: w.ID(), origin: o, arrival: now, ctx: ctx, autoUTF8: c.autoUTF8[o.source()],
		header:  header{text: m.header.text[:0], out: m.header.out[:0]},
		partial: m.partial[:0],
		scratch: m.scratch[:0],
	}
	if c.checks != nil && !o.Unchecked && (!o.Internal || c.internal[o.source()]) {
		m.filter = newFilter(m)
	}
	m.startMilters()
}

// Recipient tells of a recipient before the content, so that actions on the content can log
// it.
func (m *Message) Recipient(addr string) { m.recipient = addr }

// ID returns the queue id.
func (m *Message) ID() string { return m.id }

// Arrival returns when the message was begun.
func (m *Message) Arrival() time.Time { return m.arrival }

// Write takes the next piece of the content. What it returns besides len(p) is
// why the message is refused; it is returned by Finish too.
func (m *Message) Write(p []byte) (int, error) {
	if m.stage == finished {
		return 0, errNotFinished
	}
	if m.err != nil {
		return 0, m.err
	}
	n := len(p)
	if m.c.set.ReplaceStrayCRLF {
		p = m.replaceStray(p)
	}
	switch {
	case m.filter != nil:
		m.filter.lines.Write(p) //nolint:errcheck // it never fails
		p = nil
	case m.stage == inHeader:
		p = m.headerPart(p)
	}
	m.write(p)
	if m.err != nil {
		return 0, m.err
	}
	return n, nil
}

// write hands content to the queue.
func (m *Message) write(p []byte) {
	if m.err != nil || m.dropped || len(p) == 0 {
		return
	}
	if m.autoUTF8 && !m.utf8 && m.stage == inHeader && !isASCII(p) {
		m.utf8 = true
	}
	var err error
	if m.draft != nil {
		err = m.draft.write(p)
	} else {
		_, err = m.w.Write(p)
	}
	if err != nil {
		m.err = m.c.queueError(m.id, err)
	}
}

var (
	crByte = []byte{'\r'}
	lfByte = []byte{'\n'}
)

// replaceStray turns every CR that no LF follows into a blank. As each LF has
// a CR before it, counting tells whether there is one.
func (m *Message) replaceStray(p []byte) []byte {
	if len(p) == 0 {
		return p
	}
	if !m.cr && p[0] != '\n' && p[len(p)-1] != '\r' && bytes.Count(p, crByte) == bytes.Count(p, lfByte) {
		return p
	}
	b := m.scratch[:0]
	if m.cr {
		b = append(b, '\r')
		m.cr = false
	}
	b = append(b, p...)
	m.scratch = b
	if b[len(b)-1] == '\r' {
		m.cr = true
		b = b[:len(b)-1]
	}
	for i := 0; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '\r')
		if n < 0 {
			break
		}
		if i += n; i+1 == len(b) || b[i+1] != '\n' {
			b[i] = ' '
		}
	}
	return b
}

// Finish ends the content, expands the recipients of env and commits the
// message. The caller fills env with addresses as given; Finish completes it.
// An error is a [smtp.Reply]; the message is gone then.
func (m *Message) Finish(ctx context.Context, env *queue.Envelope) error {
	m.endContent()
	discard := m.filter != nil && m.filter.discard
	if m.err == nil && m.status == accepted && !discard {
		given := env.Recipients
		m.err = m.envelope(ctx, env)
		if m.draft != nil && m.err == nil && m.status == accepted {
			m.err = m.inspect(ctx, env, given)
			discard = m.thrown
		}
	}
	if m.err == nil && m.status != accepted {
		m.err = m.refusal
	}
	if m.err != nil || discard {
		err := m.err
		if discard {
			err = nil // what is thrown away was taken
		}
		m.Abort()
		return err
	}
	w, c, id := m.w, m.c, m.id
	m.recycle()
	if err := w.Commit(ctx, env); err != nil {
		return c.queueError(id, err)
	}
	return nil
}

// endContent flushes what was held back.
func (m *Message) endContent() {
	if m.cr {
		m.cr = false
		m.scratch = append(m.scratch[:0], ' ')
		switch {
		case m.filter != nil:
			m.filter.lines.Write(m.scratch) //nolint:errcheck // as above
		case m.stage == inHeader:
			m.write(m.headerPart(m.scratch))
		default:
			m.write(m.scratch)
		}
	}
	if m.filter != nil {
		m.filter.end()
		return
	}
	if m.stage == inHeader && (len(m.partial) > 0 || m.cut) {
		rest, _ := m.completeLine(crlf) // the last line has no end
		m.write(rest)
	}
	if m.stage == inHeader {
		m.lastHeader()
	}
}

// Size returns the size of the content so far, as it is queued.
func (m *Message) Size() int64 { return m.w.Size() }

// Abort drops the message.
func (m *Message) Abort() {
	m.w.Abort()
	m.recycle()
}

func (m *Message) recycle() {
	c := m.c
	if m.draft != nil {
		m.draft.close()
	}
	m.stage, m.w, m.filter, m.ctx, m.inspection = finished, nil, nil, nil, inspection{}
	if cap(m.scratch) > maxKept {
		m.scratch = nil
	}
	if cap(m.partial) > maxKept {
		m.partial = nil
	}
	if cap(m.header.text) > maxKept {
		m.header.text = nil
	}
	if cap(m.header.out) > maxKept {
		m.header.out = nil
	}
	c.pool.Put(m)
}

// maxKept is the largest buffer that is kept for the next message.
const maxKept = 16 << 10
