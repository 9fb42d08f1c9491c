package smtpd

import (
	"bytes"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// The lines that log analyzers read. They are built without fmt, as every
// session writes some.

func (s *session) logConnect() {
	s.srv.log.Append(maillog.Info, func(b []byte) []byte {
		return append(append(b, "connect from "...), s.client.label...)
	})
}

// logClient tells of a new queue file.
func (s *session) logClient() {
	s.srv.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(b, s.queueID()...)
		b = append(b, ": client="...)
		b = append(b, s.client.label...)
		b = s.appendSASL(b, ", ")
		if s.forward.ident != "" {
			b = append(append(b, ", orig_queue_id="...), s.forward.ident...)
		}
		if s.forward.client {
			b = append(append(b, ", orig_client="...), s.forward.label...)
		}
		return b
	})
}

func (s *session) appendSASL(b []byte, sep string) []byte {
	if s.login.method != "" {
		b = append(append(append(b, sep...), "sasl_method="...), s.login.method...)
	}
	if s.login.user != "" {
		b = append(append(append(b, sep...), "sasl_username="...), s.login.user...)
	}
	if s.tx.auth != "" {
		b = append(append(append(b, sep...), "sasl_sender="...), s.tx.auth...)
	}
	return b
}

func (s *session) logDisconnect() {
	s.srv.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(append(b, "disconnect from "...), s.client.label...)
		var all counter
		for v := range s.counts {
			c := s.counts[v]
			if c.total == 0 {
				continue
			}
			b = append(append(append(b, ' '), commands[v].count...), '=')
			b = c.append(b)
			all.ok += c.ok
			all.total += c.total
		}
		b = append(b, " commands="...)
		if all.total == 0 {
			b = append(b, "0/0"...)
		} else {
			b = all.append(b)
		}
		if s.bareLF {
			b = append(b, " notes=bare_lf"...)
		}
		return b
	})
}

func (c counter) append(b []byte) []byte {
	b = strconv.AppendInt(b, int64(c.ok), 10)
	if c.ok != c.total {
		b = append(b, '/')
		b = strconv.AppendInt(b, int64(c.total), 10)
	}
	return b
}

// logEnd tells why a session ended otherwise than by QUIT: reason is "lost
// connection", "timeout" or "too many errors".
func (s *session) logEnd(reason string) {
	s.srv.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(append(b, reason...), " after "...)
		b = append(b, s.where...)
		if s.contentBytes >= 0 {
			b = append(b, " ("...)
			b = strconv.AppendInt(b, s.contentBytes, 10)
			b = append(b, " bytes)"...)
		}
		return append(append(b, " from "...), s.client.label...)
	})
}

// logAction tells of a decision about a command: "reject", "reject_warning",
// "permit", "hold" and others.
func (s *session) logAction(action, command string, text func(b []byte) []byte) {
	s.srv.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(b, s.queueID()...)
		b = append(append(b, ": "...), action...)
		b = append(append(b, ": "...), command...)
		b = append(append(b, " from "...), s.client.label...)
		b = append(b, ": "...)
		b = text(b)
		b = append(b, ';')
		return s.appendContext(b)
	})
}

// appendContext appends what is known of the transaction.
func (s *session) appendContext(b []byte) []byte {
	if s.tx.open {
		b = append(b, " from=<"...)
		b = append(smtp.AppendAddress(b, s.tx.sender), '>')
	}
	if s.rcptNow != "" {
		b = append(b, " to=<"...)
		b = append(smtp.AppendAddress(b, s.rcptNow), '>')
	}
	b = append(append(b, " proto="...), s.proto...)
	if s.heloName != "" {
		b = append(append(append(b, " helo=<"...), s.heloName...), '>')
	}
	return b
}

func (s *session) logReject(command string, r smtp.Reply) {
	s.logAction("reject", command, s.softened(r).AppendText)
}

// appendOneLine appends a reply as log lines show what others said.
func appendOneLine(b []byte, r smtp.Reply) []byte {
	lines := bytes.TrimSuffix(r.Append(nil), crlf)
	return append(b, bytes.ReplaceAll(lines, crlf, []byte("??"))...)
}

func (s *session) warn(text ...string) {
	s.srv.log.Append(maillog.Warning, func(b []byte) []byte {
		for _, t := range text {
			b = append(b, t...)
		}
		return b
	})
}
