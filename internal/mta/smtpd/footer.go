package smtpd

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// withFooter adds smtpd_reject_footer to a refusal: on a line of its own, or
// behind the text when it begins with \c.
func (s *session) withFooter(r smtp.Reply) smtp.Reply {
	footer := s.srv.set.RejectFooter
	if maps := s.srv.lists.footerMaps; !maps.Empty() {
		value, found, err := maps.Lookup(s.ctx, r.Error())
		if err == nil && found {
			footer = value
		}
	}
	if footer == "" {
		return r
	}
	sep := "\n"
	if rest, ok := strings.CutPrefix(footer, `\c`); ok {
		sep, footer = "", rest
	}
	text, err := s.expand(strings.ReplaceAll(footer, `\n`, "\n"), nil)
	if err != nil {
		s.srv.log.Warningf("smtpd_reject_footer: %v", err)
		return r
	}
	r.Text += sep + text
	return r
}
