package mime

import (
	"bytes"
	"strings"
)

// A Class is whose header a header is.
type Class uint8

// The classes.
const (
	Primary Class = iota // the message's
	Part                 // of a part, after a boundary
	Nested               // of a message inside the message
	body
)

// A Problem is something that a message should not have.
type Problem uint8

// The problems. They are bits for [Options.Report].
const (
	TooDeep        Problem = 1 << iota // multiparts nested deeper than Options.MaxDepth
	HeaderTooLong                      // a header was cut
	Header8Bit                         // bytes beyond ASCII in a header
	Body8Bit                           // bytes beyond ASCII in a body that is to be 7bit
	EncodingDomain                     // an encoding that a multipart or message must not have
)

var problems = []struct {
	Problem
	text string
}{
	{TooDeep, "MIME nesting exceeds safety limit"},
	{HeaderTooLong, "message header length exceeds safety limit"},
	{Header8Bit, "improper use of 8-bit data in message header"},
	{Body8Bit, "improper use of 8-bit data in message body"},
	{EncodingDomain, "invalid message/* or multipart/* encoding domain"},
}

// String is Postfix's text for the worst of the problems.
func (p Problem) String() string {
	for _, one := range problems {
		if p&one.Problem != 0 {
			return one.text
		}
	}
	return ""
}

// A Handler is told what a message consists of, in order. It must not keep the
// slices.
type Handler interface {
	// Header has a whole header, with line ends "\n" inside where it is folded.
	Header(class Class, header []byte)
	// HeaderEnd follows the last header of the message.
	HeaderEnd()
	// Body has a line, without its end, or a piece of one, when more follows.
	// offset is the position in the part.
	Body(line []byte, more bool, offset int64)
	// Problem is called for the first problem of each kind.
	Problem(p Problem, text []byte)
}

// Options say what is looked at.
type Options struct {
	Opaque      bool    // all after the header is body
	Report      Problem // which problems to look for
	HeaderLimit int     // bytes of a header that are kept; the rest is dropped
	MaxDepth    int     // of boundaries, mime_nesting_limit
	MaxBoundary int     // bytes of a boundary that count
}

// A State is in the middle of a message.
type State struct {
	opt Options
	to  Handler

	where    Class
	header   []byte // under way
	more     bool   // the last line has not ended
	stack    []boundary
	seen     Problem
	offset   int64 // in the body of a part
	ctype    contentType
	encoding encoding
}

// boundary separates parts. What its parts are by default is known with it.
type boundary struct {
	text string
	def  contentType
}

type contentType uint8

const (
	text contentType = iota
	other
	multipart
	message // of any other subtype
	messageRFC822
	messageGlobal
	messageLimited // message/partial and message/external-body, which are 7bit
)

// New returns a State at the beginning of a message.
func New(o Options, to Handler) *State {
	return &State{opt: o, to: to, encoding: encodings[0]}
}

// enter goes to the beginning of a block of headers or a body.
func (s *State) enter(where Class, ctype contentType) {
	s.where, s.ctype, s.encoding = where, ctype, encodings[0]
	if where == body {
		s.offset = 0
	}
}

// Problems are those found so far.
func (s *State) Problems() Problem { return s.seen }

func (s *State) problem(p Problem, text []byte) {
	if s.opt.Report&p != 0 && s.seen&p == 0 {
		s.seen |= p
		s.to.Problem(p, text)
	}
}

// Line takes the next line, without its end, or a piece of it when more follows.
func (s *State) Line(line []byte, more bool) {
	continued := s.more
	s.more = more
	if s.where != body {
		if len(s.header) > 0 {
			if continued {
				s.extend(nil, line)
				return
			}
			if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
				s.extend([]byte{'\n'}, line)
				return
			}
			s.endHeader()
		}
		if n := nameLength(line); n > 0 {
			s.header = append(s.header[:0], line[:n]...)
			s.header = append(s.header, bytes.TrimLeft(line[n:], " \t")...)
			return
		}
		s.endHeaders(len(line) == 0)
	}
	s.bodyLine(line, more, continued)
}

// End is called after the last line.
func (s *State) End() {
	if s.more {
		s.Line(nil, false)
	}
	if s.where == body {
		return
	}
	if len(s.header) > 0 {
		s.endHeader()
	}
	if s.where == Primary {
		s.to.HeaderEnd()
	}
	s.checkDomain()
	s.where = body
}

// extend adds to the header under way.
func (s *State) extend(sep, line []byte) {
	if len(s.header) >= s.opt.HeaderLimit {
		s.problem(HeaderTooLong, s.header)
		return
	}
	s.header = append(append(s.header, sep...), line...)
}

func (s *State) endHeader() {
	if name, value, _ := bytes.Cut(s.header, []byte{':'}); !s.opt.Opaque {
		switch {
		case equalFold(name, "content-type"):
			s.contentType(string(value))
		case equalFold(name, "content-transfer-encoding"):
			s.setEncoding(string(value))
		}
	}
	if s.opt.Report&Header8Bit != 0 && has8Bit(s.header) {
		s.problem(Header8Bit, s.header)
	}
	s.to.Header(s.where, s.header)
	s.header = s.header[:0]
}

// endHeaders goes from a block of headers to what follows: an empty line, or text that
// is no header.
func (s *State) endHeaders(empty bool) {
	first := s.where == Primary
	if first {
		s.to.HeaderEnd()
	}
	s.checkDomain()
	if !empty {
		// Between parts no line is added: signatures would break.
		if first {
			s.to.Body(nil, false, 0)
		}
		s.where, s.offset = body, 0
		return
	}
	switch s.ctype {
	case messageRFC822, messageGlobal:
		s.enter(Nested, text)
		s.offset = 0
	case multipart:
		s.enter(body, other)
	default:
		s.where, s.offset = body, 0
	}
}

func (s *State) bodyLine(line []byte, more, continued bool) {
	if s.opt.Report&Body8Bit != 0 && s.encoding.name == "7bit" && has8Bit(line) {
		s.problem(Body8Bit, line)
	}
	if len(s.stack) > 0 && !continued && len(line) > 2 && line[0] == '-' && line[1] == '-' {
		s.boundary(line[2:])
	}
	s.to.Body(line, more, s.offset)
	s.offset += int64(len(line)) + 1
}

// boundary looks for the innermost boundary that a line is. Those inside of it end.
func (s *State) boundary(line []byte) {
	for i := len(s.stack) - 1; i >= 0; i-- {
		b := s.stack[i]
		rest, ok := bytes.CutPrefix(line, []byte(b.text))
		if !ok {
			continue
		}
		s.stack = s.stack[:i+1]
		if bytes.HasPrefix(rest, []byte("--")) {
			s.stack = s.stack[:i]
			s.enter(body, other)
		} else {
			s.enter(Part, b.def)
		}
		return
	}
}

// nameLength is the length of the name of a header, 0 for text that is none.
func nameLength(line []byte) int {
	n := 0
	for n < len(line) && line[n] > ' ' && line[n] < 0x7f && line[n] != ':' {
		n++
	}
	i := n
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	if i == len(line) || line[i] != ':' {
		return 0
	}
	return n
}

func equalFold(name []byte, s string) bool {
	return len(name) == len(s) && strings.EqualFold(string(name), s)
}

func has8Bit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
