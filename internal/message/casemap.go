package message

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// AppendCasemap appends UTF-8 text as i;unicode-casemap compares it (RFC 5051):
// in title case and decomposed.
func AppendCasemap(b, text []byte) []byte {
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			if c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
			b = append(b, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		i += size
		var raw [utf8.UTFMax]byte
		n := utf8.EncodeRune(raw[:], unicode.ToTitle(r))
		b = norm.NFKD.Append(b, raw[:n]...)
	}
	return b
}
