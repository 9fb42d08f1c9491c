package smtp

import "fmt"

const upperHex = "0123456789ABCDEF"

// AppendXtext appends s encoded as xtext (RFC 3461 4): bytes outside "!" to
// "~", and "+" and "=", become "+HH".
func AppendXtext(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c > '~' || c == '+' || c == '=' {
			b = append(b, '+', upperHex[c>>4], upperHex[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}

// AppendUxtext appends s encoded as utf-8-addr-xtext (RFC 6533 3): what xtext encodes, and
// "\\", becomes "\\x{HEX}", by code points.
func AppendUxtext(b []byte, s string) []byte {
	for _, c := range s {
		if c <= ' ' || c > '~' || c == '+' || c == '=' || c == '\\' {
			b = fmt.Appendf(b, "\\x{%02X}", c)
			continue
		}
		b = append(b, byte(c))
	}
	return b
}

// Xtext returns s encoded as xtext.
func Xtext(s string) string { return string(AppendXtext(nil, s)) }

// ParseXtext decodes xtext; ok is false when it is malformed.
func ParseXtext(s []byte) (text string, ok bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), true
}

func unhex(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
