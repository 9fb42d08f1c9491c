package message

import (
	"bufio"
	"bytes"
	"io"
)

// A Field is one header field as it stands in the message.
type Field struct {
	Name []byte // without the colon and blanks before it; empty if there is no colon
	Raw  []byte // all lines with their line ends, as given
	Line int    // line number of the first line, from 1
}

// Value returns the text after the colon without leading blanks and the last
// line end. Folded lines keep their line ends.
func (f *Field) Value() []byte {
	v := trimLineEnd(f.Raw)
	if i := bytes.IndexByte(v, ':'); i >= 0 {
		v = v[i+1:]
	}
	return bytes.TrimLeft(v, " \t")
}

// A HeaderReader iterates over the fields of a header.
type HeaderReader struct {
	r    *bufio.Reader
	max  int
	f    Field
	raw  []byte
	line int
	err  error
	done bool
}

// NewHeaderReader returns an iterator over the header that r begins with. Of
// fields longer than max bytes the end is cut off.
func NewHeaderReader(r io.Reader, max int) *HeaderReader {
	br, ok := r.(*bufio.Reader)
	if !ok {
		br = bufio.NewReader(r)
	}
	return &HeaderReader{r: br, max: max}
}

// Reset makes h iterate over another header, as a new one with the same limit would.
func (h *HeaderReader) Reset(r *bufio.Reader) {
	*h = HeaderReader{r: r, max: h.max, raw: h.raw[:0]}
}

// Next returns the next field, which is valid until the next call, or false at
// the end of the header. Lines without a colon are returned as fields without
// a name.
func (h *HeaderReader) Next() (*Field, bool) {
	if h.done {
		return nil, false
	}
	h.raw = h.raw[:0]
	h.f.Line = h.line + 1
	for {
		h.readLine()
		if h.done || !h.continues() {
			break
		}
	}
	text := trimLineEnd(h.raw)
	if len(text) == 0 {
		h.done = true
		return nil, false
	}
	h.f.Raw = h.raw
	h.f.Name = nil
	if i := bytes.IndexByte(text, ':'); i >= 0 {
		h.f.Name = bytes.TrimRight(text[:i], " \t")
	}
	return &h.f, true
}

// readLine appends one line to raw.
func (h *HeaderReader) readLine() {
	h.line++
	for {
		part, err := h.r.ReadSlice('\n')
		if room := h.max - len(h.raw); len(part) > room {
			part = part[:max(room, 0)]
		}
		h.raw = append(h.raw, part...)
		switch err {
		case nil:
			return
		case bufio.ErrBufferFull:
			continue
		case io.EOF:
		default:
			h.err = err
		}
		h.done = true
		return
	}
}

// continues reports whether the next line belongs to the field just read. What
// is empty is the end of the header, whatever follows.
func (h *HeaderReader) continues() bool {
	if len(trimLineEnd(h.raw)) == 0 {
		return false
	}
	next, _ := h.r.Peek(1)
	return len(next) > 0 && (next[0] == ' ' || next[0] == '\t')
}

// Err returns the first read error other than io.EOF.
func (h *HeaderReader) Err() error { return h.err }

// AppendUnfolded appends value with its folds undone: line ends are dropped,
// the blanks after them stay (RFC 5322 2.2.3).
func AppendUnfolded(b, value []byte) []byte {
	for {
		i := bytes.IndexByte(value, '\n')
		if i < 0 {
			return append(b, value...)
		}
		end := i
		if end > 0 && value[end-1] == '\r' {
			end--
		}
		b = append(b, value[:end]...)
		value = value[i+1:]
	}
}
