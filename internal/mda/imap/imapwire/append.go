package imapwire

import (
	"strconv"
	"unicode/utf8"
)

// AppendString appends s as a quoted string, or as a literal if it contains what
// a quoted string cannot.
func AppendString[T string | []byte](b []byte, s T) []byte {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c == '\r' || c == '\n' || c == 0 {
			return AppendLiteral(b, s)
		}
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// AppendLiteral appends s as a literal.
func AppendLiteral[T string | []byte](b []byte, s T) []byte {
	b = append(b, '{')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, "}\r\n"...)
	return append(b, s...)
}

// AppendAString appends s as an atom if it can be one, else as
// [AppendString] does.
func AppendAString[T string | []byte](b []byte, s T) []byte {
	if len(s) == 0 || len(s) == 3 && EqualFold([]byte(s), "NIL") {
		return AppendString(b, s)
	}
	for i := range len(s) {
		// RFC 9051 ASTRING-CHAR: unlike what is taken, no wildcards.
		if c := s[i]; !atomChar[c] || c == '%' || c == '*' || c == '\\' {
			return AppendString(b, s)
		}
	}
	return append(b, s...)
}

// AppendUTF8 is [AppendAString] for a client that has enabled UTF-8 (RFC 6855 3): what is not in ASCII is quoted
// if it is valid.
func AppendUTF8(b []byte, s string) []byte {
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\r' || c == '\n' || c == 0:
			return AppendLiteral(b, s)
		case c >= 0x80:
			ascii = false
		}
	}
	switch {
	case ascii:
		return AppendAString(b, s)
	case !utf8.ValidString(s):
		return AppendLiteral(b, s)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
