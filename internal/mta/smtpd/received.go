package smtpd

import (
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// received makes the Received header of a message (RFC 5321 4.4). The slice
// is valid until the next reply. A server between two others, as XFORWARD and a filter make it,
// adds none.
func (s *session) received() []byte {
	b := s.out[len(s.out):]
	if s.filtering != nil && s.forward.told {
		return b
	}
	b = append(b, "Received: from "...)
	if s.heloName != "" {
		b = append(b, s.heloName...)
	} else {
		b = append(b, s.client.name...)
	}
	b = append(b, " ("...)
	b = append(b, s.client.name...)
	b = append(b, " ["...)
	if s.client.addr.Is6() {
		b = append(b, "IPv6:"...)
	}
	b = append(b, s.client.addrText...)
	b = append(b, "])\r\n"...)
	b = s.appendReceivedTLS(b)
	if s.srv.set.SASLAuthenticatedHeader && s.login.user != "" {
		b = append(b, "\t(Authenticated sender: "...)
		b = append(b, smtp.Comment(s.login.user)...)
		b = append(b, ")\r\n"...)
	}
	b = append(b, "\tby "...)
	b = append(b, s.srv.core.Myhostname...)
	b = append(b, " ("...)
	b = append(b, s.srv.core.MailName...)
	b = append(b, ") with "...)
	b = append(b, s.protocol()...)
	if s.msg != nil {
		b = append(b, " id "...)
		b = append(b, s.msg.ID()...)
	}
	if len(s.tx.recipients) == 1 {
		b = append(b, "\r\n\tfor <"...)
		b = smtp.AppendAddress(b, s.tx.recipients[0].Address)
		b = append(b, ">; "...)
	} else {
		b = append(b, ";\r\n\t"...)
	}
	b = cleanup.AppendDate(b, s.srv.now())
	return append(b, "\r\n"...)
}

func (s *session) appendReceivedTLS(b []byte) []byte {
	if !s.srv.set.TLSReceivedHeader || s.tls.Protocol == "" {
		return b
	}
	return s.tls.AppendReceived(b, s.srv.set.TLSAskCcert)
}

// protocol is the protocol type of RFC 3848 and RFC 6531 4.3.
func (s *session) protocol() string {
	tls, auth := s.tls.Protocol != "", s.login.user != ""
	if s.proto != "ESMTP" {
		return s.proto
	}
	kind := &esmtpTypes
	if s.tx.mail.SMTPUTF8 {
		kind = &utf8Types
	}
	switch {
	case tls && auth:
		return kind[3]
	case auth:
		return kind[2]
	case tls:
		return kind[1]
	}
	return kind[0]
}

var (
	esmtpTypes = [4]string{"ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"}
	utf8Types  = [4]string{"UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"}
)
