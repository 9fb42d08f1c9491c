package smtp

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

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

// ParseUxtext decodes utf-8-addr-xtext; ok is false when it is malformed.
func ParseUxtext(s []byte) (text string, ok bool) {
	b := make([]byte, 0, len(s))
	for len(s) > 0 {
		digits, escaped := bytes.CutPrefix(s, []byte(`\x{`))
		if !escaped {
			b, s = append(b, s[0]), s[1:]
			continue
		}
		code, rest, ended := bytes.Cut(digits, []byte{'}'})
		var c rune
		for _, digit := range code {
			n := unhex(digit)
			if n < 0 || c > utf8.MaxRune {
				return "", false
			}
			c = c<<4 | rune(n)
		}
		if !ended || c > utf8.MaxRune {
			return "", false
		}
		b, s = utf8.AppendRune(b, c), rest
	}
	return string(b), true
}

// beforeNUL is a text up to its first NUL, which nothing that is given to programs or other servers can hold.
func beforeNUL(text string) string {
	text, _, _ = strings.Cut(text, "\x00")
	return text
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
