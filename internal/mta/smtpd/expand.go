package smtpd

import (
	"fmt"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// expand replaces the $names of a reply's template by what they stand for: more names
// some, the session the others. No other settings can be shown to clients.
func (s *session) expand(template string, more func(name string) (string, bool)) (string, error) {
	return postfix.ExpandDefined(template, func(name string) (string, bool) {
		value, ok := "", false
		if more != nil {
			value, ok = more(name)
		}
		if !ok {
			if value, ok = s.attribute(name); !ok {
				s.srv.log.Warningf("unknown macro name \"%s\" in expansion request", name)
				return "", false
			}
		}
		// What a client says is not expanded again.
		return strings.ReplaceAll(s.srv.allowed.replace(value), "$", "$$"), true
	})
}

// attribute is what a $name of the session stands for.
func (s *session) attribute(name string) (value string, ok bool) {
	if rest, ok := strings.CutPrefix(name, "sender"); ok {
		return addressPart(s.tx.sender, s.tx.open, rest)
	}
	if rest, ok := strings.CutPrefix(name, "recipient"); ok {
		// Between commands it is the first that was taken.
		if s.rcptNow == "" && len(s.tx.recipients) > 0 {
			return addressPart(s.tx.recipients[0].Address, true, rest)
		}
		return addressPart(s.rcptNow, s.rcptNow != "", rest)
	}
	switch name {
	case "client":
		value = s.client.label
	case "client_address":
		value = s.client.addrText
	case "client_name":
		value = s.client.name
	case "client_port":
		value = s.client.port
	case "reverse_client_name":
		value = s.client.reverse
	case "helo_name":
		value = s.heloName
	case "localtime":
		value = s.srv.now().Format(time.Stamp)
	case "server_name":
		value = s.srv.core.Myhostname
	default:
		return "", false
	}
	return value, true
}

// addressPart is an address, or its "_name" or "_domain".
func addressPart(addr string, known bool, part string) (string, bool) {
	if !known {
		return "", true
	}
	local, domain := smtp.SplitAddress(addr)
	switch part {
	case "":
		return orNull(addr), true
	case "_name":
		return orNull(local), true
	case "_domain":
		return domain, true
	}
	return "", false
}

func orNull(s string) string {
	if s == "" {
		return "<>"
	}
	return s
}

// charset is a set of bytes: smtpd_expansion_filter.
type charset [256]bool

// replace puts "_" in the place of what is not in the set.
func (c *charset) replace(s string) string {
	return replaceByte(s, '_', func(b byte) bool { return !c[b] })
}

// parseCharset reads a set in which C's escapes stand for what cannot be written.
func parseCharset(text string) (*charset, error) {
	c := new(charset)
	for i := 0; i < len(text); i++ {
		b := text[i]
		if b != '\\' {
			c[b] = true
			continue
		}
		if i++; i == len(text) {
			return nil, fmt.Errorf("smtpd_expansion_filter: nothing follows the last backslash in %s", text)
		}
		if plain := strings.IndexByte("abfnrtv", text[i]); plain >= 0 {
			c["\a\b\f\n\r\t\v"[plain]] = true
			continue
		}
		n := 0
		for n < 3 && i+n < len(text) && text[i+n] >= '0' && text[i+n] <= '7' {
			n++
		}
		if n == 0 {
			c[text[i]] = true
			continue
		}
		code := 0
		for _, d := range []byte(text[i : i+n]) {
			code = code*8 + int(d-'0')
		}
		c[byte(code)] = true
		i += n - 1
	}
	return c, nil
}
