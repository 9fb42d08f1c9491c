package rfc822

import (
	"slices"
	"strings"
)

// addressHeaders are the headers that hold lists of addresses (RFC 5322 3.6 and older ones).
var addressHeaders = []string{
	"from", "sender", "reply-to", "to", "cc", "bcc", "apparently-to", "return-receipt-to",
	"errors-to", "disposition-notification-to", "mail-followup-to", "return-path",
	"resent-from", "resent-sender", "resent-reply-to", "resent-to", "resent-cc", "resent-bcc",
}

// AddressHeaders are the names, in lower case, of the headers that hold a list of addresses.
func AddressHeaders() []string { return slices.Clone(addressHeaders) }

// IsAddressHeader tells whether a header of that name is one of them.
func IsAddressHeader(name string) bool { return slices.Contains(addressHeaders, strings.ToLower(name)) }

// foldAt is the length of lines that are put together anew.
const foldAt = 70

// AppendFolded appends the lines of [Header] to the name of a header, as many of them on one as fit.
func AppendFolded(b []byte, text string) []byte {
	start := 0
	for i, line := range strings.Split(text, "\n") {
		switch {
		case i == 0:
		case len(b)-start+1+len(line) < foldAt:
			b = append(b, ' ')
		default:
			b = append(b, '\n')
			start = len(b)
		}
		b = append(b, line...)
	}
	return b
}
