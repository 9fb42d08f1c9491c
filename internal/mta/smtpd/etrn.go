package smtpd

import (
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/flush"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// etrn does ETRN (RFC 1985).
func (s *session) etrn(args []byte) smtp.Reply {
	switch {
	case s.srv.set.HELORequired && s.heloName == "":
		return replyETRNHELO
	case s.milterRefusesAll().Code != 0:
		return s.milterRefusesAll()
	case s.tx.open:
		return replyETRNMail
	case len(args) == 0 || strings.ContainsAny(string(args), " \t"):
		return replySyntaxETRN
	}
	name := string(args)
	if name[0] == '@' || name[0] == '#' {
		name = name[1:]
	}
	if !smtp.ValidDomain(name) {
		return replyBadETRN
	}
	r, ok := s.checkETRN(name)
	if s.site = ""; !ok {
		return r
	}
	return s.flushSite(name)
}

// flushSite has the mail for a site tried, and says so.
func (s *session) flushSite(site string) smtp.Reply {
	err := flush.ErrDenied
	if s.srv.flush != nil {
		err = s.srv.flush(s.ctx, site)
	}
	switch {
	case err == nil:
		return replyETRN
	case errors.Is(err, flush.ErrDenied):
		s.warn("reject: ETRN ", site, "... from ", s.client.label)
		return reply(459, smtp.Enhanced{}, "<"+site+">: service unavailable")
	}
	s.srv.log.Warningf("%v", err)
	s.warn("bad ETRN ", site, "... from ", s.client.label)
	return replyNotQueued
}
