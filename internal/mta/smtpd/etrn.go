package smtpd

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// etrn does ETRN (RFC 1985). No log of mail per site is kept, as with Postfix
// for domains that are not in fast_flush_domains.
func (s *session) etrn(args []byte) smtp.Reply {
	switch {
	case s.discard&kwETRN != 0:
		return replyNotImpl
	case s.srv.set.HELORequired && s.heloName == "":
		return replyETRNHELO
	case s.tx.open:
		return replyETRNMail
	case len(args) == 0 || strings.ContainsAny(string(args), " \t"):
		return replySyntaxETRN
	}
	site := string(args)
	name := site
	if name[0] == '@' || name[0] == '#' {
		name = name[1:]
	}
	if !smtp.ValidDomain(name) {
		return replyBadETRN
	}
	if r, ok := s.checkETRN(site); !ok {
		return r
	}
	s.warn("reject: ETRN ", site, "... from ", s.client.label)
	return reply(459, smtp.Enhanced{}, "<"+site+">: service unavailable")
}
