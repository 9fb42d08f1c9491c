package queue

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// VERPProblem says what is wrong with the delimiters of a VERP request, or
// nothing; allowed is verp_delimiter_filter.
func VERPProblem(delimiters, allowed string) string {
	switch {
	case len(delimiters) != 2:
		return "bad VERP delimiter character count"
	case strings.IndexByte(allowed, delimiters[0]) < 0:
		return "bad first VERP delimiter character"
	case strings.IndexByte(allowed, delimiters[1]) < 0:
		return "bad second VERP delimiter character"
	}
	return ""
}

// VERPSender is the sender that a message with VERP has for one recipient:
// prefix@origin becomes prefix+user=domain@origin. It names the recipient as
// the sender knows it, before alias expansion.
func (e *Envelope) VERPSender(r *Recipient) string {
	to := r.Original
	if to == "" {
		to = r.Address
	}
	prefix, origin := cutLast(e.Sender)
	user, domain := cutLast(smtp.QuoteAddress(to)) // the sender knows it quoted
	name := prefix + e.VERP[:1] + user
	if domain != "" {
		name += e.VERP[1:] + domain
	}
	if origin != "" {
		name += "@" + origin
	}
	return name
}

// cutLast splits an address at its last "@".
func cutLast(addr string) (user, domain string) {
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		return addr[:i], addr[i+1:]
	}
	return addr, ""
}
