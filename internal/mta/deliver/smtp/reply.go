package smtp

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/postmaster"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// maxReplyLines bounds what a server says. Longer lines than line_length_limit are cut, and what follows
// that many bytes is not kept.
const maxReplyLines = 1000

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

// reply reads a reply of one or more lines. As Postfix does, it keeps lines that are
// none, but what the last line says counts.
func (s *session) reply(timeout time.Duration) (reply, error) {
	s.arm(timeout)
	s.text = s.text[:0]
	limit := s.agent.shared.LineLengthLimit
	full := false
	for range maxReplyLines {
		line, err := s.r.ReadLine()
		if err != nil && err != wire.ErrLineTooLong {
			return reply{}, err
		}
		if err != nil {
			s.agent.log.Warningf("%s: response longer than %d: %.30s...", s.server.relay, limit, appendPrintable(nil, line))
		}
		if !full && len(s.text) >= limit {
			full = true
			s.agent.log.Warningf("%s: multi-line response longer than %d %.30s...", s.server.relay, limit, s.text)
		}
		said := line
		if line, err = s.filterReply(line); err != nil {
			return reply{}, err
		}
		if !full {
			s.heard(said, line)
		}
		if !full {
			if len(s.text) > 0 {
				s.text = append(s.text, '\n')
			}
			s.text = appendPrintable(s.text, line)
		}
		if s.agent.trace != nil {
			s.agent.trace.said('<', string(appendPrintable(nil, line)))
		}
		code, more, ok := replyCode(line)
		switch {
		case !ok:
			s.garbage(line)
		case !more:
			return reply{code: code, dsn: replyDSN(code, line), text: s.text}, nil
		}
	}
	return reply{}, errReplyLength
}

// errData is a table that could not be asked.
var errData = errors.New("local data error")

// filterReply returns what smtp_reply_filter has in place of a line.
func (s *session) filterReply(line []byte) ([]byte, error) {
	filter := s.agent.replyFilter
	if filter.Empty() {
		return line, nil
	}
	line = appendPrintable(nil, line)
	text, found, err := filter.Lookup(context.Background(), string(line)) // tables have time limits of their own
	if err != nil {                                                       // of which the table has told
		return nil, errData
	}
	if !found {
		return line, nil
	}
	s.agent.log.Infof("%s: replacing server reply \"%s\" with \"%s\"", s.server.relay, line, text)
	return []byte(text), nil
}

// garbage complains about a line that is no reply. Replies to commands that were
// sent together might be mixed up.
func (s *session) garbage(line []byte) {
	s.unfit = true
	s.history.trouble |= postmaster.Protocol
	if s.ext&extPipelining == 0 {
		return
	}
	s.agent.log.Warningf("%s: non-%s response from %s: %.100s", s.message,
		map[Protocol]string{SMTP: "ESMTP", LMTP: "LMTP"}[s.agent.protocol], s.server.relay, appendPrintable(nil, line))
	where := s.server.address
	if s.server.ip.IsValid() {
		where = s.server.ip.String()
	}
	s.agent.log.Warningf("to prevent loss of mail, turn off command pipelining for %s with the %s parameter",
		where, s.agent.protocol.discardMaps())
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
