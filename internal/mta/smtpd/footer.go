package smtpd

import (
	"strings"
	"time"

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
	r.Text += sep + s.expandFooter(strings.ReplaceAll(footer, `\n`, "\n"))
	return r
}

// expandFooter replaces the $names of a footer by what they stand for.
func (s *session) expandFooter(footer string) string {
	var b strings.Builder
	for {
		text, rest, ok := strings.Cut(footer, "$")
		b.WriteString(text)
		if !ok {
			return b.String()
		}
		var name string
		if strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "(") {
			end := strings.IndexAny(rest, "})")
			if end < 0 {
				return b.String()
			}
			name, footer = rest[1:end], rest[end+1:]
		} else {
			n := 0
			for n < len(rest) && (rest[n] == '_' || rest[n]|0x20 >= 'a' && rest[n]|0x20 <= 'z') {
				n++
			}
			name, footer = rest[:n], rest[n:]
		}
		b.WriteString(filterExpansion(s.footerValue(name)))
	}
}

func (s *session) footerValue(name string) string {
	switch name {
	case "client":
		return s.client.label
	case "client_address":
		return s.client.addrText
	case "client_name":
		return s.client.name
	case "client_port":
		return s.client.port
	case "helo_name":
		return s.heloName
	case "localtime":
		return s.srv.now().Format(time.Stamp)
	case "server_name":
		return s.srv.core.Myhostname
	case "recipient":
		return s.rcptNow
	case "recipient_name":
		local, _ := smtp.SplitAddress(s.rcptNow)
		return local
	case "recipient_domain":
		_, domain := smtp.SplitAddress(s.rcptNow)
		return domain
	case "sender":
		return s.tx.sender
	case "sender_name":
		local, _ := smtp.SplitAddress(s.tx.sender)
		return local
	case "sender_domain":
		_, domain := smtp.SplitAddress(s.tx.sender)
		return domain
	}
	return ""
}

// filterExpansion replaces what smtpd_expansion_filter does not have: all but
// printable ASCII.
func filterExpansion(value string) string {
	b := []byte(value)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '_'
		}
	}
	return string(b)
}
