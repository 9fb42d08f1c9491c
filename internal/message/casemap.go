package message

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// AppendCasemap appends UTF-8 text as i;unicode-casemap compares it (RFC 5051):
// in title case and decomposed.
func AppendCasemap(b, text []byte) []byte {
	for len(text) > 0 {
		if text[0] < utf8.RuneSelf {
			var n int
			b, n = appendUpper(b, text)
			text = text[n:]
			continue
		}
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		var raw [utf8.UTFMax]byte
		n := utf8.EncodeRune(raw[:], unicode.ToTitle(r))
		b = norm.NFKD.Append(b, raw[:n]...)
	}
	return b
}
