package message

import (
	"bytes"
	"encoding/base64"
)

// DecodeHeader appends an unfolded header value as UTF-8: encoded words
// (RFC 2047) are decoded, also inside quoted strings and without blanks around
// them, since mailers write them so. Blanks between two encoded words vanish.
func DecodeHeader(b, value []byte) []byte {
	afterWord := false
	for len(value) > 0 {
		start := bytes.Index(value, []byte("=?"))
		if start < 0 {
			break
		}
		plain := value[:start]
		charset, text, n, ok := encodedWord(value[start:])
		if !ok {
			b = appendText(b, value[:start+2])
			value = value[start+2:]
			afterWord = false
			continue
		}
		if !afterWord || !isBlank(plain) {
			b = appendText(b, plain)
		}
		b = toUTF8(b, charset, text)
		value = value[start+n:]
		afterWord = true
	}
	return appendText(b, value)
}

func appendText(b, text []byte) []byte {
	return append(b, bytes.ToValidUTF8(text, []byte("\uFFFD"))...)
}

func isBlank(b []byte) bool {
	for _, c := range b {
		if !is(c, classBlank) {
			return false
		}
	}
	return true
}

// encodedWord decodes the word that b begins with: "=?charset?encoding?text?=".
// The charset may have a language after "*" (RFC 2231 5).
func encodedWord(b []byte) (charset string, text []byte, n int, ok bool) {
	fields := b[2:]
	i := bytes.IndexByte(fields, '?')
	if i < 0 || i+2 >= len(fields) || fields[i+2] != '?' {
		return "", nil, 0, false
	}
	name, _, _ := bytes.Cut(fields[:i], []byte("*"))
	code := fields[i+1]
	encoded := fields[i+3:]
	end := bytes.Index(encoded, []byte("?="))
	if end < 0 {
		return "", nil, 0, false
	}
	n = 2 + i + 3 + end + 2
	encoded = encoded[:end]
	switch code {
	case 'q', 'Q':
		text = decodeQ(encoded)
	case 'b', 'B':
		text = decodeBase64(encoded)
	default:
		return "", nil, 0, false
	}
	return string(name), text, n, true
}

// decodeQ decodes the "Q" encoding of RFC 2047 4.2.
func decodeQ(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(b):
			hi, ok1 := hexValue(b[i+1])
			lo, ok2 := hexValue(b[i+2])
			if !ok1 || !ok2 {
				out = append(out, c)
				continue
			}
			out = append(out, hi<<4|lo)
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}

func hexValue(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// decodeBase64 decodes what it can: bytes outside of the alphabet are skipped and
// padding may be missing.
func decodeBase64(b []byte) []byte {
	clean := make([]byte, 0, len(b))
	for _, c := range b {
		if c == '=' {
			break
		}
		if isBase64(c) {
			clean = append(clean, c)
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	out, _ := base64.RawStdEncoding.AppendDecode(make([]byte, 0, len(clean)), clean)
	return out
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}
