package smtpd

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// filteredReply is what smtpd_reject_filter_maps has in place of a refusal.
func (s *session) filteredReply(r smtp.Reply) smtp.Reply {
	maps := s.srv.lists.rejectFilter
	if maps.Empty() {
		return r
	}
	text := r.Error()
	value, found, err := maps.Lookup(s.ctx, text)
	if err != nil || !found { // a table that fails has told so
		return r
	}
	other, ok := parseRefusal(value)
	if !ok {
		s.srv.log.Warningf("%s: ignoring invalid reject filter result: %s", s.queueID(), value)
		return r
	}
	s.srv.log.Infof("%s: reply filter in: %s", s.queueID(), text)
	s.srv.log.Infof("%s: reply filter out: %s", s.queueID(), value)
	return other
}

// parseRefusal reads a refusal as a table has it: "550 5.7.1 text".
func parseRefusal(text string) (smtp.Reply, bool) {
	if len(text) < len("550 x") || text[0] != '4' && text[0] != '5' || !isDigits(text[:3]) || text[3] != ' ' {
		return smtp.Reply{}, false
	}
	r := smtp.Reply{Code: int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0'), Text: clean(text[4:])}
	if e, used := smtp.ParseEnhanced(r.Text); used > 0 {
		r.Enhanced, r.Text = e, strings.TrimLeft(r.Text[used:], " ")
	}
	if r.Text == "" || !r.Enhanced.IsZero() && int(r.Enhanced[0]) != r.Code/100 {
		return smtp.Reply{}, false
	}
	return r, true
}
