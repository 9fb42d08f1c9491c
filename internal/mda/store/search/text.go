package search

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// maxField is how much of one header field is looked at.
const maxField = 10 << 20

// A needle is a string to look for, normalized.
type needle []byte

func newNeedle(text string) needle {
	return message.AppendCasemap(nil, []byte(text))
}

// A scratch is what looking for strings uses again, from text to text.
type scratch struct {
	piece  []byte // as read
	window []byte // normalized
	value  []byte // of a field
	line   []byte // a field
	in     *bufio.Reader
	reader *message.HeaderReader
}

// in reports whether UTF-8 text contains the string.
func (n needle) in(text []byte, b *scratch) bool {
	b.window = message.AppendCasemap(b.window[:0], text)
	return bytes.Contains(b.window, n)
}

// contains reports whether the text read from r contains the string. Only the
// end of what was read is kept.
func (n needle) contains(r io.Reader, b *scratch) (found bool, err error) {
	if len(n) == 0 {
		return true, nil
	}
	window := b.window[:0]
	defer func() { b.window = window }()
	err = eachPiece(r, b, func(piece []byte) error {
		window = message.AppendCasemap(window, piece)
		if bytes.Contains(window, n) {
			return errFound
		}
		if keep := len(n) - 1; len(window) > keep {
			window = window[:copy(window, window[len(window)-keep:])]
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// eachPiece calls fn with the text read from r, in pieces of whole characters.
func eachPiece(r io.Reader, b *scratch, fn func([]byte) error) error {
	if b.piece == nil {
		b.piece = make([]byte, 16<<10)
	}
	buf := b.piece
	rest := 0 // bytes at the begin of buf that are an incomplete character
	for {
		got, err := r.Read(buf[rest:])
		data := buf[:rest+got]
		cut := len(data)
		if err == nil {
			cut = completeRunes(data)
		}
		if err := fn(data[:cut]); err != nil {
			return err
		}
		rest = copy(buf, data[cut:])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
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
	w := textWalk{text: func(r io.Reader) error {
		found, err := q.needle.contains(r, &c.s.scratch)
		if found {
			return errFound
		}
		return err
	}}
	if q.Op == TextOp {
		w.field = func(_ *message.Part, _, line []byte) error {
			if q.needle.in(line, &c.s.scratch) {
				return errFound
			}
			return nil
		}
	}
	err := c.walk(&w)
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// errFound ends a search that was successful.
var errFound = errors.New("found")

// A textWalk goes through all that is text in a message.
type textWalk struct {
	body  mailbox.Body
	field func(p *message.Part, name, line []byte) error // nil if headers do not count
	text  func(io.Reader) error
	*scratch
}

func (c *candidate) walk(w *textWalk) (err error) {
	s, err := c.parsed()
	if err != nil {
		return err
	}
	if w.body, err = c.open(); err != nil {
		return err
	}
	w.scratch = &c.s.scratch
	return w.part(&s.Root)
}

// part goes through a part and those inside it.
func (w *textWalk) part(p *message.Part) error {
	if w.field != nil {
		if err := w.header(p); err != nil {
			return err
		}
	}
	for _, child := range p.Children {
		if err := w.part(child); err != nil {
			return err
		}
	}
	if len(p.Children) > 0 || !searchable(p) {
		return nil
	}
	return w.text(message.NewTextReader(p, io.NewSectionReader(w.body, p.BodyOffset(), p.Body.Physical)))
}

// searchable reports whether a part is text for people.
func searchable(p *message.Part) bool {
	kind, _, _ := strings.Cut(p.MediaType(), "/")
	return kind == "text" || kind == "message" || kind == ""
}

// fields returns an iterator over the header of a part, which is valid until the next call.
func (w *textWalk) fields(p *message.Part) *message.HeaderReader {
	in := io.NewSectionReader(w.body, p.Offset, p.Header.Physical)
	if w.in == nil {
		w.in = bufio.NewReader(in)
		w.reader = message.NewHeaderReader(w.in, maxField)
		return w.reader
	}
	w.in.Reset(in)
	w.reader.Reset(w.in)
	return w.reader
}

// header goes through the header of a part: each field is a line, decoded.
func (w *textWalk) header(p *message.Part) error {
	h := w.fields(p)
	for {
		f, ok := h.Next()
		if !ok {
			return h.Err()
		}
		w.line = append(append(w.line[:0], f.Name...), ": "...)
		w.value = message.AppendUnfolded(w.value[:0], f.Value())
		w.line = message.DecodeHeader(w.line, w.value)
		if err := w.field(p, f.Name, w.line); err != nil {
			return err
		}
	}
}
