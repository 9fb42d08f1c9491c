package milter

import (
	"bytes"
	"errors"
	"io"
)

// A Message is what filters look at and change. A change that is refused, by the checks
// of headers that filters add, returns another verdict than Continue: what the filter asks for
// behind it is not done.
type Message interface {
	// Headers calls visit with each header that filters see, without the end of its last
	// line, until that returns false.
	Headers(visit func(header []byte) bool)
	// Body is what is behind the empty line.
	Body() (io.Reader, error)

	// AddHeader adds one behind all others, InsertHeader before the one at an index, which
	// counts from 0. ChangeHeader changes the one of a name whose index counts from 1, or
	// adds it where there are less; an empty value removes it. Of a value of several lines
	// "\n" stands between them; it begins with what is behind the colon.
	AddHeader(name, value string) Verdict
	InsertHeader(index int, name, value string) Verdict
	ChangeHeader(index int, name, value string) Verdict

	// Addresses are as in SMTP, in angle brackets or not, and params are ESMTP's.
	ChangeFrom(addr, params string) Verdict
	AddRcpt(addr, params string) Verdict
	DeleteRcpt(addr string) Verdict

	// ReplaceBody begins a new body; Close ends it.
	ReplaceBody() (BodyWriter, Verdict)
}

// A BodyWriter takes the body that a filter puts in the place of another.
type BodyWriter interface {
	Write(p []byte) Verdict
	Close() Verdict
}

// pieceSize is how much of a body goes into a packet.
const pieceSize = 65535

// Message has the filters look at a message, one after the other: each sees what those before
// it have changed. An error of reading the message is a verdict, for the caller to know.
func (s *Session) Message(m Message) Verdict {
	return s.each(func(c *conn) Verdict {
		if c.state != listening {
			return c.fixed
		}
		v := s.show(c, m)
		if c.state == deaf {
			c.state = listening
		}
		return v
	})
}

// show has one filter look at a message.
func (s *Session) show(c *conn, m Message) Verdict {
	var v Verdict
	over := func() bool { return v.Action != Continue || c.state != listening }
	if c.wants&noHeaders == 0 {
		m.Headers(func(header []byte) bool {
			name, value := c.split(header)
			v = c.send(&headerCommand, s.sendMacros, func(w *wire) { w.text(name); w.text(value) }, nil)
			return !over()
		})
	}
	if !over() && c.wants&noEOH == 0 {
		v = s.send(c, &eohCommand, nil)
	}
	if !over() && c.wants&noBody == 0 {
		var err error
		if v, err = s.showBody(c, m); err != nil {
			c.warn("%v", err)
			return refuse(replyUnavailable)
		}
	}
	if over() {
		return v
	}
	return c.send(&endCommand, s.sendMacros, nil, &editor{m: m, space: c.wants&leadingSpace == 0})
}

// split is a header in two, as filters see it: without the blank behind the colon, unless
// they want that.
func (c *conn) split(header []byte) (name, value string) {
	n, v, _ := bytes.Cut(header, []byte{':'})
	if c.wants&leadingSpace == 0 && len(v) > 0 && v[0] == ' ' {
		v = v[1:]
	}
	return string(bytes.TrimRight(n, " \t")), string(v)
}

func (s *Session) showBody(c *conn, m Message) (v Verdict, err error) {
	body, err := m.Body()
	if err != nil {
		return v, err
	}
	piece := make([]byte, pieceSize)
	for v.Action == Continue && c.state == listening && c.skipped != cmdBody {
		n, err := io.ReadFull(body, piece)
		if n > 0 {
			v = s.send(c, &bodyCommand, func(w *wire) { w.out = append(w.out, piece[:n]...) })
		}
		switch {
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return v, nil
		case err != nil:
			return v, err
		}
	}
	return v, nil
}

// An editor makes the changes that a filter asks for. A nil one makes none.
type editor struct {
	m      Message
	space  bool    // a blank goes between colon and value
	failed Verdict // why no more is changed
	body   BodyWriter
	fixed  bool // the body has been replaced
}

// takes tells whether an answer is a change.
func (e *editor) takes(code byte) bool {
	if e == nil {
		return false
	}
	switch code {
	case changeAddHeader, changeInsertHeader, changeHeader, changeFrom, changeAddRcpt, changeAddRcptArgs, changeDeleteRcpt, changeBody:
		return true
	}
	return false
}

var (
	errHeaderIndex = errors.New("bad header index")
	errHeaderName  = errors.New("null change header name")
	errMixedBody   = errors.New("body replacement requests can't currently be mixed with other requests")
)

// change makes a change. An error is a mistake of the filter.
func (e *editor) change(r *reply) error {
	switch {
	case r.code == changeBody && e.fixed:
		return errMixedBody
	case (r.code == changeHeader || r.code == changeInsertHeader) && r.index > 1<<31-2:
		return errHeaderIndex
	case r.code == changeHeader && r.name == "":
		return errHeaderName
	case e.failed.Action != Continue:
		return nil
	}
	value := r.value
	if e.space && (value != "" || r.code != changeHeader) {
		value = " " + value
	}
	switch r.code {
	case changeAddHeader:
		e.failed = e.m.AddHeader(r.name, value)
	case changeInsertHeader:
		e.failed = e.m.InsertHeader(int(r.index), r.name, value)
	case changeHeader:
		e.failed = e.m.ChangeHeader(max(int(r.index), 1), r.name, value)
	case changeFrom:
		e.failed = e.m.ChangeFrom(r.name, r.value)
	case changeAddRcpt, changeAddRcptArgs:
		e.failed = e.m.AddRcpt(r.name, r.value)
	case changeDeleteRcpt:
		e.failed = e.m.DeleteRcpt(r.name)
	case changeBody:
		if e.body == nil {
			if e.body, e.failed = e.m.ReplaceBody(); e.failed.Action != Continue {
				return nil
			}
		}
		e.failed = e.body.Write(r.body)
	}
	return nil
}

// endBody ends the replacement of the body, which another answer does.
func (e *editor) endBody() {
	if e == nil || e.body == nil {
		return
	}
	v := e.body.Close()
	if e.failed.Action == Continue {
		e.failed = v
	}
	e.body, e.fixed = nil, true
}

// cut is the verdict where a filter fails. A body that it was replacing is not whole: whatever milter_default_action
// says, the message cannot be taken with it, as in Postfix since August 2026.
func (e *editor) cut(v Verdict) Verdict {
	if e != nil && e.body != nil && e.failed.Action == Continue {
		e.endBody()
		e.failed = refuse(replyUnavailable)
	}
	return e.done(v)
}

// done is the verdict of the filter, or why its changes could not be made. That it throws the
// message away, ends the connection, or puts the client off counts more.
func (e *editor) done(v Verdict) Verdict {
	if e == nil {
		return v
	}
	e.endBody()
	if e.failed.Action == Continue || v.Action == Discard || v.Action == Shutdown || v.Action == Reject && v.Reply.Code < 500 {
		return v
	}
	return e.failed
}
