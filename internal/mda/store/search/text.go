package search

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// maxField is how much of one header field is looked at.
const maxField = 10 << 20

// A needle is a string to look for, normalized.
type needle []byte

func newNeedle(text string) needle {
	return appendNormalized(nil, []byte(text))
}

// in reports whether UTF-8 text contains the string.
func (n needle) in(text []byte) bool {
	return bytes.Contains(appendNormalized(nil, text), n)
}

// appendNormalized appends text as i;unicode-casemap compares it (RFC 5051):
// title case, then decomposed.
func appendNormalized(b, text []byte) []byte {
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

// contains reports whether the text read from r contains the string. Only the
// end of what was read is kept.
func (n needle) contains(r io.Reader) (bool, error) {
	if len(n) == 0 {
		return true, nil
	}
	buf := make([]byte, 16<<10)
	var window []byte
	rest := 0 // bytes at the begin of buf that are an incomplete character
	for {
		got, err := r.Read(buf[rest:])
		data := buf[:rest+got]
		cut := len(data)
		if err == nil {
			cut = completeRunes(data)
		}
		window = appendNormalized(window, data[:cut])
		if bytes.Contains(window, n) {
			return true, nil
		}
		if keep := len(n) - 1; len(window) > keep {
			window = window[:copy(window, window[len(window)-keep:])]
		}
		rest = copy(buf, data[cut:])
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// completeRunes returns how much of data does not end inside a character.
func completeRunes(data []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(data); back++ {
		c := data[len(data)-back]
		if c < utf8.RuneSelf {
			break
		}
		if utf8.RuneStart(c) {
			if !utf8.FullRune(data[len(data)-back:]) {
				return len(data) - back
			}
			break
		}
	}
	return len(data)
}

// eachField calls fn with the fields of a header until it returns false.
func eachField(header []byte, fn func(*message.Field) bool) error {
	h := message.NewHeaderReader(bytes.NewReader(header), maxField)
	for {
		f, ok := h.Next()
		if !ok || !fn(f) {
			return h.Err()
		}
	}
}

// text looks in the header, for TextOp, and in the text parts of the body.
func (c *candidate) text(q *query) (bool, error) {
	if len(q.needle) == 0 {
		return true, nil
	}
	s, err := c.parsed()
	if err != nil {
		return false, err
	}
	body, err := c.open()
	if err != nil {
		return false, err
	}
	t := textSearch{body: body, needle: q.needle, headers: q.Op == TextOp}
	err = t.part(&s.Root)
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// errFound ends a search that was successful.
var errFound = errors.New("found")

type textSearch struct {
	body    mailbox.Body
	needle  needle
	headers bool
}

// part searches a part and those inside it.
func (t *textSearch) part(p *message.Part) error {
	if t.headers {
		if err := t.header(p); err != nil {
			return err
		}
	}
	for _, child := range p.Children {
		if err := t.part(child); err != nil {
			return err
		}
	}
	if len(p.Children) > 0 || !searchable(p) {
		return nil
	}
	r := io.NewSectionReader(t.body, p.BodyOffset(), p.Body.Physical)
	found, err := t.needle.contains(message.NewTextReader(p, r))
	if found {
		return errFound
	}
	return err
}

// searchable reports whether a part is text for people.
func searchable(p *message.Part) bool {
	kind, _, _ := strings.Cut(p.MediaType(), "/")
	return kind == "text" || kind == "message" || kind == ""
}

// header searches the header of a part.
func (t *textSearch) header(p *message.Part) error {
	h := message.NewHeaderReader(io.NewSectionReader(t.body, p.Offset, p.Header.Physical), maxField)
	var line []byte
	for {
		f, ok := h.Next()
		if !ok {
			return h.Err()
		}
		line = append(append(line[:0], f.Name...), ": "...)
		line = append(line, decoded(f.Value())...)
		if t.needle.in(line) {
			return errFound
		}
	}
}
