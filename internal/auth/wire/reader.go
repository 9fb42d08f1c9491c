package wire

import (
	"bytes"
	"errors"
	"io"
)

// ErrLineTooLong is returned for a line longer than [MaxLine].
var ErrLineTooLong = errors.New("auth protocol line is longer than 16384 bytes")

// A Reader splits what a connection sends into lines. Its buffer grows with the
// lines, up to [MaxLine].
type Reader struct {
	src        io.Reader
	buf        []byte
	start, end int
}

// NewReader returns a reader of src.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

const initialBuffer = 4096

// Next returns the next line without its LF. It is valid until the next call.
func (r *Reader) Next() ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(r.buf[r.start+scanned:r.end], '\n'); i >= 0 {
			if scanned+i > MaxLine {
				return nil, ErrLineTooLong
			}
			line := r.buf[r.start : r.start+scanned+i]
			r.start += scanned + i + 1
			return line, nil
		}
		scanned = r.end - r.start
		if scanned > MaxLine {
			return nil, ErrLineTooLong
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// Buffered reports whether Next has a whole line without reading.
func (r *Reader) Buffered() bool {
	return bytes.IndexByte(r.buf[r.start:r.end], '\n') >= 0
}

func (r *Reader) fill() error {
	if r.buf == nil {
		r.buf = make([]byte, initialBuffer)
	}
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.end -= r.start
		r.start = 0
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
