package smtpd

import (
	"bytes"
	"io"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// chunkState is where a series of BDAT commands is.
type chunkState struct {
	active bool
	failed bool  // a chunk was refused: the others are dropped
	size   int64 // of all chunks
	cr     bool
	lf     bool // the content so far ends a line
	any    bool
}

// bdat does BDAT (RFC 3030 2), the chunk included. Whatever the answer is, the
// chunk has been read then.
func (s *session) bdat(args []byte) smtp.Reply {
	size, last, ok := parseChunk(args)
	if !ok {
		s.warn(s.queueID(), ": malformed BDAT command syntax from ", s.client.label, ": BDAT ", string(smtp.AppendEscaped(nil, args[:min(len(args), 100)])))
		return replySyntaxBDAT
	}
	if s.discard&kwChunking != 0 {
		return replyNotImplClose
	}
	if r := s.chunkRefusal(size, last); r.Code != 0 {
		if err := s.skipChunk(size); err != nil {
			return s.broken(err)
		}
		return s.chunkFailed(last, r)
	}
	c := &s.tx.chunks
	if !c.active {
		c.active = true
		s.beginContent()
		s.r.StartChunks()
	}
	if err := s.flushIfShort(size); err != nil {
		return s.broken(err)
	}
	for left := size; ; {
		piece, err := s.r.ReadChunk(&left)
		if err == io.EOF {
			break
		}
		if err != nil {
			return s.broken(err)
		}
		if len(piece) > 0 {
			c.any, c.lf, c.cr = true, piece[len(piece)-1] == '\n', piece[len(piece)-1] == '\r'
			s.addContent(piece)
		}
	}
	c.size += size
	if !last {
		return reply(250, smtp.Enhanced{2, 0, 0}, "Ok: "+strconv.FormatInt(size, 10)+" bytes")
	}
	return s.lastChunk()
}

func (s *session) lastChunk() smtp.Reply {
	c := &s.tx.chunks
	switch {
	case c.any && c.cr:
		s.addContent(crlf[1:])
	case c.any && !c.lf:
		s.addContent(crlf)
	}
	bare := s.r.BareLF() && s.rejectsBareLF()
	s.noteBareLF()
	s.where = "END-OF-MESSAGE"
	total := s.contentBytes
	return s.endContent(bare, func(id string) smtp.Reply {
		return reply(250, smtp.Enhanced{2, 0, 0}, "Ok: "+strconv.FormatInt(total, 10)+" bytes queued as "+id)
	})
}

// chunkRefusal says why a chunk is not taken.
func (s *session) chunkRefusal(size int64, last bool) smtp.Reply {
	c := &s.tx.chunks
	switch {
	case c.failed:
		return reply(551, smtp.Enhanced{5, 0, 0}, "Discarded "+strconv.FormatInt(size, 10)+" bytes after earlier error")
	case size == 0 && !last:
		s.warn(s.queueID(), ": null BDAT request from ", s.client.label)
		return replyNullBDAT
	case !c.active && len(s.tx.recipients) == 0:
		return s.noRecipients()
	}
	if !c.active {
		if r := s.firstChunk(); r.Code != 0 {
			return r
		}
	}
	if limit := s.srv.core.MessageSizeLimit; limit > 0 && size > limit-c.size {
		s.warn(s.queueID(), ": BDAT request from ", s.client.label, " exceeds message size limit")
		return replyChunkLimit
	}
	return smtp.Reply{}
}

// firstChunk has the message looked at as DATA does.
func (s *session) firstChunk() smtp.Reply {
	if r, ok := s.checkData(); !ok {
		return r
	}
	if r := s.milterData("BDAT"); r.Code != 0 {
		return r
	}
	return s.filterCommand("DATA", wantMore)
}

// chunkFailed remembers that a chunk was refused, until the last one.
func (s *session) chunkFailed(last bool, r smtp.Reply) smtp.Reply {
	if last {
		s.over = true
		return r
	}
	s.tx.chunks.active, s.tx.chunks.failed = true, true
	return r
}

func (s *session) skipChunk(size int64) error {
	if err := s.flushIfShort(size); err != nil {
		return err
	}
	return s.r.SkipChunk(size)
}

// flushIfShort sends earlier replies when the client has to send more first.
func (s *session) flushIfShort(size int64) error {
	if int64(s.r.Buffered()) < size {
		return s.flush()
	}
	return nil
}

// parseChunk reads "count [LAST]".
func parseChunk(args []byte) (size int64, last, ok bool) {
	count, rest, more := bytes.Cut(args, []byte{' '})
	if len(count) == 0 || len(count) > 18 {
		return 0, false, false
	}
	for _, c := range count {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		size = size*10 + int64(c-'0')
	}
	rest = bytes.TrimSpace(rest)
	if !more || len(rest) == 0 {
		return size, false, true
	}
	return size, true, bytes.EqualFold(rest, []byte("LAST"))
}

func (s *session) queueID() string {
	if s.msg == nil {
		return "NOQUEUE"
	}
	return s.msg.ID()
}
