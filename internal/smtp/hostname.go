package smtp

import (
	"net/netip"
	"strings"
)

// HostnameError says why text is no host name, in the words of Postfix's
// valid_hostname; the empty string stands for a valid name.
//
// Letters, digits, "-" and, because it is in use, "_" are allowed; labels have
// up to 63 bytes, the name up to 255; a name of digits and dots is an address.
func HostnameError(name string) string {
	switch {
	case name == "":
		return "empty hostname"
	case len(name) > 255:
		return "bad length"
	}
	label, numeric := 0, true
	for i := range len(name) {
		switch c := name[i]; {
		case isDigit(c):
			label++
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
			label++
			numeric = false
		case c == '.':
			if label == 0 || i == len(name)-1 {
				return "misplaced delimiter"
			}
			label = 0
			continue
		case c == '-':
			label++
			numeric = false
			if label == 1 || i == len(name)-1 || name[i+1] == '.' {
				return "misplaced hyphen"
			}
		default:
			return "invalid character"
		}
		if label > 63 {
			return "hostname label too long"
		}
	}
	if numeric {
		return "numeric hostname"
	}
	return ""
}

// ValidHostname reports whether name is a host name.
func ValidHostname(name string) bool { return HostnameError(name) == "" }

// ParseLiteral reads an address literal (RFC 5321 4.1.3): "[192.0.2.1]" or
// "[IPv6:2001:db8::1]".
func ParseLiteral(s string) (netip.Addr, bool) {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, false
	}
	s = s[1 : len(s)-1]
	const tag = "IPv6:"
	v6 := len(s) > len(tag) && strings.EqualFold(s[:len(tag)], tag)
	if v6 {
		s = s[len(tag):]
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" || addr.Is4() == v6 {
		return netip.Addr{}, false
	}
	return addr, true
}

// ValidDomain reports whether domain can follow the "@" of an address: a host
// name, which a dot may end, or an address literal.
func ValidDomain(domain string) bool {
	if strings.HasPrefix(domain, "[") {
		_, ok := ParseLiteral(domain)
		return ok
	}
	return ValidHostname(strings.TrimSuffix(domain, "."))
}

// ValidUTF8Domain reports whether domain is a host name whose labels may hold
// characters beyond ASCII (RFC 6531 3.3), given that it is valid UTF-8.
func ValidUTF8Domain(domain string) bool {
	ascii := []byte(domain)
	for i, c := range ascii {
		if c >= 0x80 {
			ascii[i] = 'x'
		}
	}
	return ValidHostname(strings.TrimSuffix(string(ascii), "."))
}
