package smtpd

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// overshootCode marks a refusal that is not counted as an error.
const overshootCode = 1452

// rcpt does RCPT (RFC 5321 4.1.1.3).
func (s *session) rcpt(args []byte) smtp.Reply {
	switch {
	case !s.tx.open:
		return replyNeedMail
	case s.tx.chunks.active:
		return replyRcptAfterBDAT
	}
	rc, err := smtp.ParseRcptArgs(args, s.extensions())
	if err != nil {
		return s.argReply(err, "RCPT")
	}
	if s.discard&kwDSN != 0 && (rc.Notify != 0 || rc.ORcpt != "") {
		return replyNoDSN
	}
	if r := s.badAddress(rc.To, args, s.tx.mail.SMTPUTF8, "RCPT"); r.Code != 0 {
		return r
	}
	if r, ok := s.countEvent(anvilRecipients); !ok {
		return r
	}
	s.rcptNow = rc.To
	if len(s.tx.recipients) >= s.srv.set.RecipientLimit {
		return s.tooMany()
	}
	r, ok := s.checkRecipient("RCPT", &rc)
	if r = s.milterRcpt(args, r); !ok || r.Code != 0 {
		return r
	}
	if s.msg == nil && s.filtering == nil {
		if r := s.openMessage(); r.Code != 0 {
			return r
		}
	}
	if r := s.filterCommand(s.line, wantOK); r.Code != 0 {
		return r
	}
	s.addRecipient(&rc)
	return replyRcptOK
}

// tooMany refuses a recipient over the limit. Some of them are not held
// against the client, who may have pipelined them.
func (s *session) tooMany() smtp.Reply {
	r := replyManyRcpt
	if s.tx.overshoot++; s.tx.overshoot <= s.srv.set.RecipientOvershootLimit {
		r.Code = overshootCode
	}
	return r
}

// openMessage takes a queue id for the message, or connects to the filter before the queue.
func (s *session) openMessage() smtp.Reply {
	if s.srv.filter != nil {
		return s.openFilter()
	}
	msg, err := s.srv.cleanup.Start(s.ctx, cleanup.Origin{
		Sender: s.tx.sender, Local: s.isLocal(), Unmapped: s.srv.override&cleanup.NoAddressMappings != 0, Unchecked: s.srv.override&cleanup.NoHeaderBodyChecks != 0,
		Source: "smtpd", Client: s.client.label, Proto: s.proto, Helo: s.heloName,
	})
	if err != nil {
		return replyError(err)
	}
	s.msg = msg
	s.logClient()
	return smtp.Reply{}
}

func (s *session) addRecipient(rc *smtp.Rcpt) {
	if s.tx.recipients == nil {
		s.tx.recipients = make([]queue.Recipient, 0, 1)
	}
	s.tx.recipients = append(s.tx.recipients, queue.Recipient{
		Address: rc.To, Original: rc.To, DSNOrcpt: rc.ORcpt, Notify: uint8(rc.Notify),
	})
	if s.msg != nil {
		s.msg.Recipient(rc.To)
	}
}

// envelope is what the queue is told of the message.
func (s *session) envelope() *queue.Envelope {
	env := &queue.Envelope{
		Sender:         s.tx.sender,
		RewriteContext: "remote",
		Recipients:     s.tx.recipients,
		SMTPUTF8:       s.tx.mail.SMTPUTF8,
		Ret:            byte(s.tx.mail.Ret),
		EnvID:          s.tx.envID(),
		Client:         s.origin(),
		SASL:           queue.SASL{Method: s.login.method, Username: s.login.user, Sender: s.tx.auth},
		VERP:           s.tx.mail.XVERP,
		Filter:         s.srv.set.ContentFilter,
		Hold:           s.tx.actions.hold,
		Redirect:       s.tx.actions.redirect,
	}
	switch s.tx.mail.Body {
	case smtp.Body7Bit:
		env.Encoding = "7bit"
	case smtp.Body8BitMIME:
		env.Encoding = "8bit"
	}
	if s.isLocal() {
		env.RewriteContext = "local"
	}
	if env.VERP == "default" {
		env.VERP = s.srv.set.DefaultVERPDelimiters
	}
	if s.tx.actions.filter != "" {
		env.Filter = s.tx.actions.filter
	}
	for _, addr := range s.tx.actions.bcc {
		env.Recipients = append(env.Recipients, queue.Recipient{Address: addr, Notify: uint8(smtp.NotifyNever)})
	}
	return env
}

// isPostmaster reports whether a recipient is the postmaster without domain,
// whom everybody can reach (RFC 5321 4.5.1).
func isPostmaster(addr string) bool {
	return len(addr) == len("postmaster") && strings.EqualFold(addr, "postmaster")
}

// envID is ENVID of MAIL FROM, decoded (RFC 3461 4.4).
func (tx *transaction) envID() string {
	text, ok := smtp.ParseXtext([]byte(tx.mail.EnvID))
	if !ok {
		return ""
	}
	return text
}
