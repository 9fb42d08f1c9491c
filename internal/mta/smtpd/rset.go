package smtpd

import "github.com/dovetail-mail/dovetail/internal/smtp"

// rset does RSET (RFC 5321 4.1.1.5).
func (s *session) rset(args []byte) smtp.Reply {
	if len(args) > 0 {
		return replySyntaxRset
	}
	s.tellPostmaster(s.srv.history.FlushThreshold)
	s.reset()
	return replyOK
}

// noop does NOOP; arguments do not matter (RFC 5321 4.1.1.9).
func (s *session) noop([]byte) smtp.Reply { return replyOK }

// quit does QUIT (RFC 5321 4.1.1.10).
func (s *session) quit([]byte) smtp.Reply {
	s.closing = true
	return replyBye
}
