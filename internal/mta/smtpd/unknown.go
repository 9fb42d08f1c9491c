package smtpd

import (
	"bytes"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// unknown answers what is no command. Clients that speak another protocol, or
// send a message where commands belong, are cut off.
func (s *session) unknown(line []byte) smtp.Reply {
	name, _ := smtp.ParseCommand(line)
	if isHeader(line) || s.srv.isForbidden(s, string(name)) {
		text := line[:min(len(line), 100)]
		s.warn("non-SMTP command from ", s.client.label, ": ", string(appendEscaped(nil, text)))
		s.closing = true
		return replyNotSMTP
	}
	return replyUnknown
}

// isHeader reports whether a line looks like a message header.
func isHeader(line []byte) bool {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return false
	}
	for _, c := range bytes.TrimRight(line[:i], " \t") {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

func (srv *Server) isForbidden(s *session, name string) bool {
	match, err := srv.lists.forbidden.Match(s.ctx, name)
	return err == nil && match
}

// isNoop reports whether the administrator wants a command to be ignored.
func (s *session) isNoop(name []byte) bool {
	list := s.srv.lists.noop
	if list == nil {
		return false
	}
	match, err := list.Match(s.ctx, strings.ToLower(string(name)))
	return err == nil && match
}
