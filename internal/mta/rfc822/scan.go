package rfc822

import "strings"

// A Kind is what a [Token] is. An operator is its own character.
type Kind int16

// The kinds that are more than one character.
const (
	Atom    Kind = 256 + iota
	Quoted       // a quoted string; the text is without quotes
	Literal      // a domain literal; the text is without brackets
	Comment      // with its parentheses and backslashes
	Address      // a list of tokens that is one address
	Group        // the colon that begins the members of a group
)

// A Token is a part of a text.
type Token struct {
	Kind Kind
	Text string
	List []Token // of an Address
}

// operators are the characters that are tokens of their own.
const operators = "|%!()<>@,;:\\\".[]"

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// isSpecial holds for what ends an atom.
var isSpecial = func() (t [256]bool) {
	for _, c := range []byte(operators + " \t\r\n") {
		t[c] = true
	}
	t['\\'] = false // it takes the next character with it
	return
}()

// Scan takes text apart. With a limit, what comes after that many tokens is
// dropped.
func Scan(s string, limit int) []Token {
	tokens := make([]Token, 0, 8)
	for i := 0; i < len(s); {
		c := s[i]
		if isBlank(c) {
			i++
			continue
		}
		var t Token
		switch {
		case c == '(':
			t, i = comment(s, i)
		case c == '[':
			t.Kind = Literal
			t.Text, i = until(s, i+1, func(c byte) bool { return c == ']' })
			i = min(i+1, len(s))
		case c == '"':
			t.Kind = Quoted
			t.Text, i = until(s, i+1, func(c byte) bool { return c == '"' })
			i = min(i+1, len(s))
		case isSpecial[c]:
			t.Kind = Kind(c)
			i++
		default:
			t.Text, i = until(s, i, func(c byte) bool { return isSpecial[c] })
			t.Kind = atomKind(t.Text)
		}
		tokens = append(tokens, t)
		if limit > 0 && len(tokens) >= limit {
			break
		}
	}
	return tokens
}

// until collects text up to a character of the set. A backslash takes the next
// character as it is; tabs and line ends become blanks.
func until(s string, i int, ends func(byte) bool) (text string, end int) {
	start := i
	for ; i < len(s) && !ends(s[i]); i++ {
		if c := s[i]; c == '\\' || isBlank(c) && c != ' ' {
			break
		}
	}
	if i == len(s) || ends(s[i]) {
		return s[start:i], i
	}
	b := []byte(s[start:i])
	for ; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			if i++; i == len(s) {
				break
			}
			c = s[i]
		} else if ends(c) {
			break
		}
		if isBlank(c) {
			c = ' '
		}
		b = append(b, c)
	}
	return string(b), i
}

// atomKind is Quoted for an atom that holds what only quotes allow, after a
// backslash.
func atomKind(text string) Kind {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c == 0x7f || strings.IndexByte(operators, c) >= 0 {
			return Quoted
		}
	}
	return Atom
}

// comment takes a comment, with those inside it.
func comment(s string, i int) (Token, int) {
	start, depth := i, 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return Token{Kind: Comment, Text: s[start : i+1]}, i + 1
			}
		case '\\':
			i++
		}
	}
	return Token{Kind: Comment, Text: s[start:]}, len(s)
}
