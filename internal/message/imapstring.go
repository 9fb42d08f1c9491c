package message

import (
	"bytes"
	"strconv"
)

// maxEscapes is the number of quotes and backslashes above which Dovecot
// prefers a literal to a quoted string.
const maxEscapes = 4

// AppendString appends an IMAP string: quoted where RFC 3501 allows it, else a literal.
func AppendString(b, s []byte) []byte {
	escapes := 0
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			if escapes++; escapes > maxEscapes {
				return appendLiteral(b, s)
			}
		case c == '\r' || c == '\n' || c == 0 || c >= 0x80:
			return appendLiteral(b, s)
		}
	}
	return appendQuoted(b, s, escapes)
}

func appendQuoted(b, s []byte, escapes int) []byte {
	b = append(b, '"')
	if escapes == 0 {
		return append(append(b, s...), '"')
	}
	for _, c := range s {
		if c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return append(b, '"')
}

func appendLiteral(b, s []byte) []byte {
	b = append(b, '{')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, "}\r\n"...)
	return append(b, s...)
}

// appendNoLF appends s as a string on one line: line ends are dropped where a
// blank follows, as it does in a folded field, and else become one.
func appendNoLF(b, s []byte) []byte {
	if bytes.IndexByte(s, '\n') < 0 && bytes.IndexByte(s, '\r') < 0 {
		return AppendString(b, s)
	}
	t := make([]byte, 0, len(s))
	for i, c := range s {
		switch {
		case c != '\r' && c != '\n':
			t = append(t, c)
		case i+1 < len(s) && !is(s[i+1], classBlank):
			t = append(t, ' ')
		}
	}
	return AppendString(b, t)
}

// appendHumans appends s as text for people: blanks and line ends become single
// spaces. As Dovecot does, whatever is not plain goes out as a literal.
func appendHumans(b, s []byte) []byte {
	plain := true
	last := byte(' ')
	for _, c := range s {
		if c >= 0x80 || c == 0 || c == '\t' || c == '\r' || c == '\n' || c == '"' || c == '\\' || c == ' ' && last == ' ' {
			plain = false
			break
		}
		last = c
	}
	if plain && (len(s) == 0 || last != ' ') {
		return appendQuoted(b, s, 0)
	}
	t := make([]byte, 0, len(s)+8)
	for _, c := range s {
		if is(c, classBlank) {
			if len(t) > 0 && t[len(t)-1] != ' ' {
				t = append(t, ' ')
			}
			continue
		}
		t = append(t, c)
	}
	t = bytes.TrimRight(t, " ")
	if len(t) == 0 {
		return append(b, `""`...)
	}
	return appendLiteral(b, t)
}

// replacement is written for NUL, which no IMAP string can hold.
const replacement = "\uFFFD"

// replaceNUL returns s with NUL replaced by U+FFFD.
func replaceNUL(s []byte) []byte {
	if bytes.IndexByte(s, 0) < 0 {
		return s
	}
	return bytes.ReplaceAll(s, []byte{0}, []byte(replacement))
}
