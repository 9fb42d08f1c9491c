// Package aliases reads what aliases(5), :include: files and .forward files hold:
// lists of destinations. The grammar is that of address lists in RFC 822 headers,
// as Postfix reads them:
//
//	joe, jane@example.com          separated by commas or, between words, blanks
//	"|/usr/bin/program args"       quotes protect blanks and operators
//	|program, /file, :include:/f   what needs no quotes
//	\joe                           a backslash protects the next character, and goes
//	Joe <joe@example.com> (note)   names and comments are left out
//
// The package also tells whose rights the owner of an alias database gives to the
// commands and files in it.
package aliases

import "strings"

// Parse returns the destinations of a list in internal form: quotes and comments
// removed. It takes time and memory in proportion to the text.
func Parse(text string) []string {
	return group(scan(text))
}

// A token of an address list. Its kind is one of those below, or an operator.
type token struct {
	kind byte
	text string
}

const (
	atom    = 'a'
	quoted  = 'q'
	literal = 'l' // [in brackets]
	comment = 'c'
)

// operators are tokens by themselves: RFC 822 specials and what mail systems
// before had.
const operators = "|%!" + `()<>@,;:\".[]`

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// scan splits text into tokens.
func scan(s string) []token {
	var all []token
	for len(s) > 0 {
		c := s[0]
		switch {
		case isBlank(c):
			s = s[1:]
		case c == '(':
			s = s[skipComment(s):]
			all = append(all, token{kind: comment})
		case c == '[':
			var text string
			text, s = collect(s[1:], func(c byte) bool { return c != ']' })
			all, s = append(all, token{literal, text}), cut(s)
		case c == '"':
			var text string
			text, s = collect(s[1:], func(c byte) bool { return c != '"' })
			all, s = append(all, token{quoted, text}), cut(s)
		case c != '\\' && strings.IndexByte(operators, c) >= 0:
			all, s = append(all, token{kind: c}), s[1:]
		default:
			var text string
			text, s = collect(s, func(c byte) bool { return !isBlank(c) && strings.IndexByte(operators, c) < 0 })
			all = append(all, token{atom, text})
		}
	}
	return all
}

func cut(s string) string {
	if s == "" {
		return s
	}
	return s[1:]
}

// collect takes characters as long as they belong; a backslash takes the next one
// whatever it is.
func collect(s string, belongs func(byte) bool) (text, rest string) {
	i := 0
	for i < len(s) && s[i] != '\\' && belongs(s[i]) && s[i] != '\t' && s[i] != '\r' && s[i] != '\n' {
		i++
	}
	if i == len(s) || s[i] != '\\' && !belongs(s[i]) {
		return s[:i], s[i:]
	}
	b := []byte(s[:i])
	for ; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			if i++; i == len(s) {
				break
			}
			c = s[i]
		} else if !belongs(c) {
			break
		}
		if isBlank(c) {
			c = ' '
		}
		b = append(b, c)
	}
	return string(b), s[min(i, len(s)):]
}

// skipComment is the length of the comment that s begins with.
func skipComment(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}
