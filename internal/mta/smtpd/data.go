package smtpd

import (
	"bytes"
	"io"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// data does DATA (RFC 5321 4.1.1.4), the content included.
func (s *session) data(args []byte) smtp.Reply {
	switch {
	case s.tx.chunks.active:
		return replyDataAfterBDAT
	case len(s.tx.recipients) == 0:
		return s.noRecipients()
	case len(args) > 0:
		return replySyntaxData
	}
	if r, ok := s.checkData(); !ok {
		return r
	}
	if r := s.milterData("DATA"); r.Code != 0 {
		return r
	}
	if r := s.filterCommand(s.line, wantMore); r.Code != 0 {
		return r
	}
	s.reply(replyData)
	if err := s.flush(); err != nil {
		return s.broken(err)
	}
	s.beginContent()
	ends := smtp.AnyEnd
	if s.forbidsBareLF() {
		ends = smtp.StandardEnd
	}
	s.r.StartData(ends)
	for {
		piece, err := s.r.ReadData()
		if err == io.EOF {
			break
		}
		if err != nil {
			return s.broken(err)
		}
		s.addContent(piece)
	}
	bare := s.r.BareLF() && s.rejectsBareLF()
	s.noteBareLF()
	s.where = "END-OF-MESSAGE"
	return s.endContent(bare, func(id string) smtp.Reply {
		return reply(250, smtp.Enhanced{2, 0, 0}, "Ok: queued as "+id)
	})
}

func (s *session) noRecipients() smtp.Reply {
	if !s.tx.open {
		return replyNeedRcpt
	}
	return replyNoRcpt
}

// broken is for a connection that fails within content: the session ends.
func (s *session) broken(err error) smtp.Reply {
	s.content.broken = err
	return smtp.Reply{}
}

// content is the state of the content under way.
type content struct {
	start  contentStart
	head   []byte // first bytes, as long as it is not known what they are
	err    error  // why the message is refused
	broken error  // why the connection is lost
}

// contentStart says what is special about the next byte of the content.
type contentStart uint8

const (
	startLine contentStart = iota // beginning of a line, before any header
	startFrom                     // in a "From " line, after which it starts again
	started
)

func (s *session) beginContent() {
	s.content = content{head: s.content.head[:0]}
	s.contentBytes = 0
	if s.filtering != nil {
		s.filtering.startContent()
	} else {
		s.milterContent()
	}
	for _, header := range s.tx.actions.prepend {
		s.writeContent([]byte(header + "\r\n"))
	}
	s.writeContent(s.received())
}

// addContent counts and takes a piece of the content.
func (s *session) addContent(p []byte) {
	s.contentBytes += int64(len(p))
	if limit := s.srv.core.MessageSizeLimit; limit > 0 && s.contentBytes > limit && s.content.err == nil {
		s.srv.log.Warningf("%s: queue file size limit exceeded", s.queueID())
		s.content.err = replyTooBig
	}
	for len(p) > 0 && s.content.start != started {
		p = s.firstLine(p)
	}
	s.writeContent(p)
}

func (s *session) writeContent(p []byte) {
	if s.content.err != nil || len(p) == 0 {
		return
	}
	if s.filtering != nil {
		s.content.err = s.filtering.add(p)
		return
	}
	if _, err := s.msg.Write(p); err != nil {
		s.content.err = err
	}
}

var (
	fromPrefix  = []byte("From ")
	mailboxLine = []byte("X-Mailbox-Line: ")
	crlf        = []byte("\r\n")
)

// firstLine looks at the beginning of the content. Lines "From ", as a mailbox
// file has them before the header, become headers; content that begins with a
// blank has no header. It returns what is left to be looked at.
func (s *session) firstLine(p []byte) []byte {
	c := &s.content
	if c.start == startFrom {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			s.writeContent(p)
			return nil
		}
		s.writeContent(p[:n+1])
		c.start = startLine
		return p[n+1:]
	}
	if len(c.head) > 0 {
		c.head = append(c.head, p...)
		p = c.head
		c.head = nil
	}
	text := bytes.TrimLeft(p, ">")
	switch {
	case bytes.HasPrefix(text, fromPrefix):
		s.writeContent(mailboxLine)
		c.start = startFrom
	case len(text) < len(fromPrefix) && bytes.HasPrefix(fromPrefix, text) && len(p) < maxHead:
		c.head = append([]byte(nil), p...) // may still become "From "
		return nil
	default:
		if p[0] == ' ' || p[0] == '\t' {
			s.writeContent(crlf)
		}
		c.start = started
	}
	return p
}

// maxHead bounds how many ">" are looked through.
const maxHead = 1024

// endContent decides about the message; ok words the reply to one that is taken.
func (s *session) endContent(bareLF bool, ok func(id string) smtp.Reply) smtp.Reply {
	if head := s.content.head; len(head) > 0 {
		s.content.head, s.content.start = nil, started
		s.writeContent(head)
	}
	r := s.commit(bareLF, ok)
	if r.Code < 400 {
		s.errors, s.junk = 0, 0
		s.forgiven()
	}
	s.over = true
	return r
}

func (s *session) commit(bareLF bool, ok func(id string) smtp.Reply) smtp.Reply {
	if s.content.err == nil {
		if r, pass := s.checkEndOfData(); !pass {
			return r
		}
	}
	var refusal smtp.Reply
	switch {
	case bareLF:
		refusal = s.bareLFReply()
	case s.content.err != nil:
		refusal = replyError(s.content.err)
	}
	switch {
	case s.filtering != nil:
		return s.finishFiltered(refusal)
	case refusal.Code != 0:
		return refusal
	}
	id := s.msg.ID()
	if s.tx.actions.discard || s.tx.actions.thrown {
		return ok(id)
	}
	msg := s.msg
	s.msg = nil
	if err := msg.Finish(s.ctx, s.envelope()); err != nil {
		return replyError(err)
	}
	return ok(id)
}

// bareLFReply refuses a line that ends in a bare LF.
func (s *session) bareLFReply() smtp.Reply {
	if len(s.tx.recipients) == 1 {
		s.rcptNow = s.tx.recipients[0].Address
	}
	s.logAction("reject", s.where, func(b []byte) []byte { return append(b, "bare <LF> received"...) })
	return s.hostReply(s.srv.set.ForbidBareNewlineRejectCode, smtp.Enhanced{5, 5, 2}, "Error: bare <LF> received")
}

// refuseBareLF ends a session whose client ends a command with a bare LF.
func (s *session) refuseBareLF() error {
	s.reply(s.bareLFReply())
	return errEnd
}
