package message

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// An asciiReader passes text on as long as it is ASCII, and has a decoder read the rest. Most mail
// needs no decoder at all.
type asciiReader struct {
	r      io.Reader
	decode func(io.Reader) io.Reader // nil when it is at work
}

// extendsASCII reports whether in texts of a charset bytes below 128 are ASCII, whatever is around them.
func extendsASCII(charset string) bool {
	charset = strings.ToLower(strings.TrimSpace(charset))
	switch charset {
	case "", "us-ascii", "ascii", "utf-8", "utf8":
		return true
	}
	return strings.HasPrefix(charset, "iso-8859-") || strings.HasPrefix(charset, "windows-125")
}

// Read implements [io.Reader].
func (a *asciiReader) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if a.decode == nil {
		return n, err
	}
	plain := asciiPrefix(p[:n])
	if plain == n {
		return n, err
	}
	rest := io.MultiReader(bytes.NewReader(bytes.Clone(p[plain:n])), failing(a.r, err))
	a.r, a.decode = a.decode(rest), nil
	if plain > 0 {
		return plain, nil
	}
	return a.r.Read(p)
}

// failing is r, or what is left of it when it has failed with err.
func failing(r io.Reader, err error) io.Reader {
	if err != nil {
		return errorReader{err}
	}
	return r
}

type errorReader struct{ error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.error }

// Eight bytes at a time.
const (
	highBits  = 0x8080808080808080
	toLowerA  = 0x1f1f1f1f1f1f1f1f // carries 'a' and above into the high bit
	aboveZ    = 0x0505050505050505 // carries what is above 'z' into it
	caseShift = 2                  // from the high bit to that by which cases differ
)

// asciiPrefix returns how many bytes text begins with that are ASCII.
func asciiPrefix(text []byte) int {
	i := 0
	for ; len(text)-i >= 8 && binary.LittleEndian.Uint64(text[i:])&highBits == 0; i += 8 {
	}
	for ; i < len(text) && text[i] < utf8.RuneSelf; i++ {
	}
	return i
}

// appendUpper appends the ASCII that text begins with in upper case, and returns how much it was.
func appendUpper(b, text []byte) ([]byte, int) {
	b = slices.Grow(b, len(text))
	to := b[len(b) : len(b)+len(text)]
	i := 0
	for ; len(text)-i >= 8; i += 8 {
		x := binary.LittleEndian.Uint64(text[i:])
		if x&highBits != 0 {
			break
		}
		lower := (x + toLowerA) &^ (x + aboveZ) & highBits
		binary.LittleEndian.PutUint64(to[i:], x-lower>>caseShift)
	}
	for ; i < len(text) && text[i] < utf8.RuneSelf; i++ {
		c := text[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		to[i] = c
	}
	return b[:len(b)+i], i
}
