package smtp

import (
	"errors"
	"strings"
	"time"

	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// Limits of what a server says.
const (
	maxReplyLine  = 2048 // longer lines are cut (line_length_limit)
	maxReplyBytes = 8 << 10
	maxReplyLines = 1000
)

var errReplyLength = errors.New("reply too long")

// A reply is what a server answered, in its own words: that is what log lines and
// notifications show.
type reply struct {
	code int
	dsn  wire.Enhanced
	text []byte // lines with their codes, joined by "\n"; valid until the next reply
}

// String returns the lines joined by blanks.
func (r *reply) String() string { return strings.ReplaceAll(string(r.text), "\n", " ") }

// reply reads a reply of one or more lines. As Postfix does, it skips lines that are
// none, and what the last line says counts.
func (s *session) reply(timeout time.Duration) (reply, error) {
	s.arm(timeout)
	s.text = s.text[:0]
	for range maxReplyLines {
		line, err := s.r.ReadLine()
		if err != nil && err != wire.ErrLineTooLong {
			return reply{}, err
		}
		code, more, ok := replyCode(line)
		if !ok {
			s.garbage(line)
			continue
		}
		if len(s.text)+len(line) < maxReplyBytes {
			if len(s.text) > 0 {
				s.text = append(s.text, '\n')
			}
			s.text = appendPrintable(s.text, line)
		}
		if !more {
			return reply{code: code, dsn: replyDSN(code, line), text: s.text}, nil
		}
	}
	return reply{}, errReplyLength
}

// garbage complains about a line that is no reply. Replies to commands that were
// sent together might be mixed up.
func (s *session) garbage(line []byte) {
	if !s.esmtp {
		return
	}
	s.agent.log.Warningf("%s: non-ESMTP response from %s: %s", s.message, s.server.relay, appendPrintable(nil, line[:min(len(line), 100)]))
	if s.ext&extPipelining != 0 {
		s.agent.log.Warningf("to prevent loss of mail, turn off command pipelining for %s with the %s parameter",
			s.server.host, s.agent.protocol.prefix()+"discard_ehlo_keyword_address_maps")
	}
}

func appendPrintable(b, text []byte) []byte {
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// replyCode reads the beginning of a line: "250-", "250 " or the bare code (RFC 5321 4.2).
func replyCode(line []byte) (code int, more, ok bool) {
	if len(line) < 3 {
		return 0, false, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		code = code*10 + int(c-'0')
	}
	return code, len(line) > 3 && line[3] == '-', len(line) == 3 || line[3] == '-' || line[3] == ' '
}

// protocolError is the code of an answer that is none to the question.
var protocolError = wire.Enhanced{5, 5, 0}

// replyDSN returns the enhanced code of a line, or what stands for it.
func replyDSN(code int, line []byte) wire.Enhanced {
	class := uint16(code / 100)
	if class != 2 && class != 4 && class != 5 {
		return protocolError
	}
	if len(line) > 4 {
		if e, n := wire.ParseEnhanced(string(line[4:min(len(line), 20)])); n > 0 && e[0] == class {
			return e
		}
	}
	return wire.Enhanced{class, 0, 0}
}
