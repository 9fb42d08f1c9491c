package store

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// utf7Base64 is the alphabet of RFC 3501 5.1.3. Strict: bits left over must be zero.
var utf7Base64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// EncodeMUTF7 returns the modified UTF-7 (RFC 3501 5.1.3) of a UTF-8 name.
func EncodeMUTF7(name string) string {
	i := 0
	for i < len(name) && printable(name[i]) && name[i] != '&' {
		i++
	}
	if i == len(name) {
		return name
	}
	b := append(make([]byte, 0, len(name)+16), name[:i]...)
	for i < len(name) {
		switch c := name[i]; {
		case c == '&':
			b = append(b, '&', '-')
			i++
		case printable(c):
			b = append(b, c)
			i++
		default:
			end := i
			for end < len(name) && !printable(name[end]) {
				end++
			}
			b = appendShifted(b, name[i:end])
			i = end
		}
	}
	return string(b)
}

func printable(c byte) bool { return c >= 0x20 && c < 0x7f }

// appendShifted appends text as "&" base64 "-".
func appendShifted(b []byte, text string) []byte {
	units := make([]byte, 0, 2*len(text))
	for _, r := range text {
		if r1, r2 := utf16.EncodeRune(r); r1 != utf8.RuneError {
			units = append(units, byte(r1>>8), byte(r1), byte(r2>>8), byte(r2))
			continue
		}
		units = append(units, byte(r>>8), byte(r))
	}
	b = append(b, '&')
	b = utf7Base64.AppendEncode(b, units)
	return append(b, '-')
}

// DecodeMUTF7 returns the UTF-8 of a modified UTF-7 name. It is false for
// anything but the one canonical encoding.
func DecodeMUTF7(name string) (string, bool) {
	var b strings.Builder
	shifted := false // the last thing was a shifted sequence
	for i := 0; i < len(name); {
		c := name[i]
		switch {
		case !printable(c):
			return "", false
		case c != '&':
			b.WriteByte(c)
			i, shifted = i+1, false
			continue
		}
		end := strings.IndexByte(name[i:], '-')
		if end < 0 {
			return "", false
		}
		text := name[i+1 : i+end]
		i += end + 1
		if text == "" {
			b.WriteByte('&')
			shifted = false
			continue
		}
		if shifted || !decodeShifted(&b, text) {
			return "", false
		}
		shifted = true
	}
	return b.String(), true
}

// decodeShifted writes the text of one shifted sequence.
func decodeShifted(b *strings.Builder, text string) bool {
	raw, err := utf7Base64.DecodeString(text)
	if err != nil || len(raw)%2 != 0 {
		return false
	}
	for i := 0; i < len(raw); i += 2 {
		r := rune(raw[i])<<8 | rune(raw[i+1])
		if utf16.IsSurrogate(r) {
			if i+4 > len(raw) {
				return false
			}
			if r = utf16.DecodeRune(r, rune(raw[i+2])<<8|rune(raw[i+3])); r == utf8.RuneError {
				return false
			}
			i += 2
		}
		if r < 0x7f && r >= 0x20 || r == 0 {
			return false // must not be encoded
		}
		b.WriteRune(r)
	}
	return true
}
