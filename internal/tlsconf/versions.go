package tlsconf

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// Versions is a range of TLS versions, in the numbers of crypto/tls. Its zero
// value is what crypto/tls offers by itself.
type Versions struct{ Lowest, Highest uint16 }

// oldestFirst are the versions that crypto/tls knows.
var oldestFirst = []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}

// ParseVersions reads a protocol list of Postfix (smtpd_tls_protocols in
// postconf(5)): "!TLSv1" takes a version out, ">=TLSv1.2" and "<=TLSv1.2" are
// limits, a name alone means that only those named are wanted. The oldest and
// the newest that are left make the range. An error says which list is wrong; it
// is permanent.
func ParseVersions(list string) (Versions, error) {
	allowed := [...]bool{true, true, true, true}
	named := false
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		name := strings.TrimLeft(word, "!<>=")
		at := versionNamed(name)
		if at < 0 {
			if strings.HasPrefix(strings.ToUpper(name), "SSL") {
				continue // too old to be offered anyway
			}
			return Versions{}, fmt.Errorf("invalid TLS protocol list %q", list)
		}
		for i := range allowed {
			switch {
			case strings.HasPrefix(word, ">="):
				allowed[i] = allowed[i] && i >= at
			case strings.HasPrefix(word, "<="):
				allowed[i] = allowed[i] && i <= at
			case word[0] == '!':
				allowed[i] = allowed[i] && i != at
			case !named:
				allowed[i] = i == at
			default:
				allowed[i] = allowed[i] || i == at
			}
		}
		named = named || !strings.ContainsAny(word, "!<>=")
	}
	var v Versions
	for i, ok := range allowed {
		if ok {
			if v.Lowest == 0 {
				v.Lowest = oldestFirst[i]
			}
			v.Highest = oldestFirst[i]
		}
	}
	if v.Lowest == 0 {
		return v, fmt.Errorf("TLS protocol list %q leaves no version", list)
	}
	return v, nil
}

func versionNamed(name string) int {
	return slices.IndexFunc(oldestFirst, func(v uint16) bool { return strings.EqualFold(versions[v], name) })
}
