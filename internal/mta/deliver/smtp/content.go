package smtp

import (
	"bytes"
	"io"
	"time"

	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// content sends the message and the final dot; a small one with one write.
func (x *transaction) content() error {
	s := x.s
	s.xfer = xferWriter{s: s, deadline: time.Now().Add(s.agent.set.DataXferTimeout)}
	w := wire.NewDataWriter(&s.xfer)
	err := x.copyContent(w)
	if err == nil && s.pix.delay {
		if err = w.Flush(); err == nil {
			x.pauseBeforeDot()
		}
	}
	if err != nil {
		w.Abort()
		if s.xfer.err != nil {
			return x.lostContent(s.xfer.err)
		}
		s.agent.log.Warningf("%s: %v", s.message, err)
		x.fail(*s.localError())
		return errBroken
	}
	// From here on the server may accept the message: its answer is awaited.
	x.watch(nil)
	if err := w.Close(); err != nil {
		return x.lost(err, stateEnd)
	}
	return nil
}

// lostContent ends a session that broke within the content. The server may have said before why
// it wants no more of it.
func (x *transaction) lostContent(err error) error {
	if !isTimeout(err) {
		reply, early := x.s.reply(x.agent.set.DataDoneTimeout)
		if early == nil && reply.code/100 != 2 { // which would be a lie
			x.fail(x.s.answered(&reply, "end of DATA", x.start))
			return errBroken
		}
	}
	return x.lost(err, stateBody)
}

// copyContent writes the message in the form that the server can take.
func (x *transaction) copyContent(w io.Writer) error {
	s := x.s
	limit := s.agent.set.LineLengthLimit
	if limit <= 0 {
		return x.convertContent(w)
	}
	s.fold = folder{w: w, limit: max(limit, 2)}
	defer func() { s.fold = folder{} }()
	if err := x.convertContent(&s.fold); err != nil {
		return err
	}
	if s.fold.broken {
		s.agent.log.Infof("%s: breaking line > %d bytes with <CR><LF>SPACE", s.message, limit)
	}
	return s.fold.flush()
}

// convertContent writes the message, as 7-bit text where the server wants that.
func (x *transaction) convertContent(w io.Writer) error {
	s := x.s
	if s.ext&ext8BitMIME == 0 && x.req.Message.Encoding != "7bit" && !s.agent.shared.NoConversion {
		d := newDowngrader(w)
		if err := x.changeContent(d); err != nil {
			return err
		}
		return d.Close()
	}
	return x.changeContent(w)
}

// changeContent writes the message as it leaves.
func (x *transaction) changeContent(w io.Writer) error {
	if out := x.s.agent.outgoing; out != nil {
		return out.copy(x.ctx, w, x.s.message, x.req.Content)
	}
	_, err := x.req.Content.WriteTo(w)
	return err
}

// An xferWriter writes to the server and gives each piece of content smtp_data_xfer_timeout; with
// smtp_per_request_deadline all pieces together, which smtp_min_data_rate prolongs.
type xferWriter struct {
	s        *session
	deadline time.Time
	err      error // of the connection, as opposed to those of the queue
}

// xferPiece is how much is written before the deadline is looked at again.
const xferPiece = 4 << 10

func (w *xferWriter) Write(p []byte) (int, error) {
	set := w.s.agent.set
	if !set.RequestDeadline {
		w.s.arm(set.DataXferTimeout)
		return w.write(p)
	}
	total := 0
	for len(p) > 0 {
		w.s.armUntil(w.deadline)
		n, err := w.write(p[:min(len(p), xferPiece)])
		total += n
		if err != nil {
			return total, err
		}
		p = p[n:]
		w.deadline = w.deadline.Add(time.Duration(n) * time.Second / time.Duration(max(set.MinDataRate, 1)))
		if latest := time.Now().Add(set.DataXferTimeout); w.deadline.After(latest) {
			w.deadline = latest
		}
	}
	return total, nil
}

func (w *xferWriter) write(p []byte) (int, error) {
	n, err := w.s.conn.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// A folder breaks lines that are longer than a limit with CRLF and a blank
// (smtp_line_length_limit). Input is lines that end in CRLF.
type folder struct {
	w      io.Writer
	limit  int
	col    int  // bytes of the present line so far
	cr     bool // a CR was held back: it may belong to the end of the line
	broken bool // a line was broken
}

var lineBreak = []byte("\r\n ")

func (f *folder) Write(p []byte) (int, error) {
	total := len(p)
	if f.cr && total > 0 {
		if err := f.heldCR(p[0]); err != nil {
			return 0, err
		}
	}
	if total > 0 && p[total-1] == '\r' {
		f.cr = true
		p = p[:total-1]
	}
	for len(p) > 0 {
		n := f.fits(p)
		if n == 0 {
			f.broken, f.col = true, 1
			if _, err := f.w.Write(lineBreak); err != nil {
				return 0, err
			}
			continue
		}
		if _, err := f.w.Write(p[:n]); err != nil {
			return 0, err
		}
		p = p[n:]
	}
	return total, nil
}

// heldCR writes the CR that ended the last piece; next is what follows.
func (f *folder) heldCR(next byte) error {
	f.cr = false
	if next != '\n' {
		f.col++
	}
	_, err := f.w.Write(lineBreak[:1])
	return err
}

// fits returns how much of p can pass before a line has to be broken.
func (f *folder) fits(p []byte) int {
	for i := 0; i < len(p); {
		n := bytes.IndexByte(p[i:], '\n')
		line := p[i:]
		if n >= 0 {
			line = bytes.TrimSuffix(p[i:i+n], lineBreak[:1])
		}
		if f.col+len(line) > f.limit {
			room := max(f.limit-f.col, 0)
			f.col = f.limit
			return i + room
		}
		if n < 0 {
			f.col += len(line)
			break
		}
		i += n + 1
		f.col = 0
	}
	return len(p)
}

// flush writes a CR that is still held back.
func (f *folder) flush() error {
	if !f.cr {
		return nil
	}
	return f.heldCR(0)
}
