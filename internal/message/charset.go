package message

import (
	"bytes"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
)

// KnownCharset reports whether text of that charset can be decoded.
func KnownCharset(name string) bool {
	_, ok := decoderOf(name)
	return ok
}

// decoderOf returns the transformation from a charset to UTF-8. ASCII and UTF-8
// are one: invalid bytes become U+FFFD in either.
func decoderOf(name string) (transform.Transformer, bool) {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "", "us-ascii", "ascii", "utf-8", "utf8", "ansi_x3.4-1968", "iso646-us", "unknown-8bit":
		return runes.ReplaceIllFormed(), name != "" && name != "unknown-8bit"
	case "utf-16":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder(), true
	}
	// The names and meanings of IANA first: browsers read windows-1252 where
	// mail means ISO-8859-1.
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e.NewDecoder(), true
	}
	if e, err := htmlindex.Get(name); err == nil {
		return e.NewDecoder(), true
	}
	return nil, false
}

// toUTF8 appends text of a charset as UTF-8. What cannot be decoded is taken as
// it is, with invalid bytes replaced.
func toUTF8(b []byte, charset string, text []byte) []byte {
	if t, ok := decoderOf(charset); ok {
		if out, _, err := transform.Bytes(t, text); err == nil {
			return append(b, out...)
		}
	}
	return append(b, bytes.ToValidUTF8(text, []byte("\uFFFD"))...)
}
