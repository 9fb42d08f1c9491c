package smtpd

import (
	"bytes"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// isForeign cuts off clients that speak another protocol, or send a message where
// commands belong.
func (s *session) isForeign(name, line []byte) bool {
	s.where = commands[verbUnknown].name
	if !isHeader(name) && !s.srv.isForbidden(s, string(name)) {
		return false
	}
	text := smtp.AppendEscaped(nil, line)
	s.warn("non-SMTP command from ", s.client.label, ": ", string(text[:min(len(text), 100)]))
	s.closing = true
	s.reply(replyNotSMTP)
	return true
}

// filtered returns what smtpd_command_filter makes of a line; ok is false if it cannot be asked.
func (s *session) filtered(line []byte) (_ []byte, ok bool) {
	maps := s.srv.lists.commandFilter
	if maps.Empty() {
		return line, true
	}
	value, found, err := maps.Lookup(s.ctx, string(bytes.TrimLeft(line, " \t")))
	switch {
	case err != nil:
		s.closing = true
		s.reply(s.hostReply(421, smtp.Enhanced{4, 3, 0}, "Server local data error"))
		return nil, false
	case !found:
		return line, true
	}
	s.srv.log.Infof("%s: replacing command \"%.100s\" with \"%.100s\"", s.client.label, line, value)
	return []byte(value), true
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
