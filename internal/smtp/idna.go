package smtp

import "golang.org/x/net/idna"

// ASCIIDomain is a domain as the DNS has it (RFC 5890): labels in other scripts become A-labels.
// What cannot become any stays as it is.
func ASCIIDomain(domain string) string {
	for i := range len(domain) {
		if domain[i] >= 0x80 {
			if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
				return ascii
			}
			break
		}
	}
	return domain
}
