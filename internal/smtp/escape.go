package smtp

import (
	"strings"
	"unicode/utf8"
)

// AppendEscaped appends bytes that a client sent, as Postfix shows them in log lines: C escapes for
// what does not print.
func AppendEscaped(b, text []byte) []byte {
	for _, c := range text {
		switch {
		case c == '\\':
			b = append(b, `\\`...)
		case c >= ' ' && c <= '~':
			b = append(b, c)
		case c >= '\a' && c <= '\r':
			b = append(b, '\\', "abtnvfr"[c-'\a'])
		default:
			b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		}
	}
	return b
}

// Visible replaces control characters, and bytes that are no UTF-8, by "?".
func Visible(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == utf8.RuneError {
			return '?'
		}
		return c
	}, text)
}

// Comment makes a text that somebody else chose fit to stand within a comment of a header (RFC 5322 3.2.2): it cannot end it.
func Comment(text string) string {
	b := []byte(text)
	open := 0
	for i, c := range b {
		switch {
		case c == '(':
			open++
		case c == ')' && open > 0:
			open--
		case c == ')' || c == '\\' || c < ' ' || c > '~':
			b[i] = '?'
		}
	}
	return string(b) + strings.Repeat(")", open)
}
