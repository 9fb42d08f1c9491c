// Package logline reads the logical lines of Postfix's text files: main.cf,
// master.cf, lookup table sources, client configurations.
//
// A physical line that begins with white space continues the logical line
// before it, white space included. Lines that are empty, or whose first
// non-blank character is "#", are skipped, also in the middle of a logical
// line. (postconf(5), "The general format of the main.cf file".)
package logline

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// MaxLength is the longest logical line, in bytes.
const MaxLength = 16 << 20

// A Reader reads logical lines.
type Reader struct {
	name    string
	in      *bufio.Reader
	number  int // of the physical line read last
	ahead   []byte
	hasMore bool // ahead holds a line
	warn    func(string)
	line    []byte
}

// NewReader returns a reader of in. name is the file's, for warnings, which go to
// warn; nil drops them.
func NewReader(in io.Reader, name string, warn func(string)) *Reader {
	if warn == nil {
		warn = func(string) {}
	}
	return &Reader{name: name, in: bufio.NewReader(in), warn: warn}
}

// Next returns the next logical line and the number of its first physical
// line. The text is valid until the next call. At the end the error is io.EOF.
func (r *Reader) Next() (text []byte, first int, err error) {
	r.line = r.line[:0]
	for {
		line, err := r.physical()
		if err == io.EOF && first > 0 {
			return r.line, first, nil
		}
		if err != nil {
			return nil, 0, err
		}
		rest := trimLeft(line)
		switch {
		case len(rest) == 0 || rest[0] == '#':
			continue
		case len(rest) < len(line) && first == 0:
			r.warn(fmt.Sprintf("%s: logical line must not start with whitespace: %q", r.name, cut(line)))
			continue
		case len(rest) == len(line) && first > 0:
			r.ahead, r.hasMore = line, true
			return r.line, first, nil
		}
		if first == 0 {
			first = r.number
		}
		if len(r.line)+len(line) > MaxLength {
			return nil, 0, fmt.Errorf("%s, line %d: logical line is longer than %d bytes", r.name, first, MaxLength)
		}
		r.line = append(r.line, line...)
	}
}

// physical returns the next line without its newline.
func (r *Reader) physical() ([]byte, error) {
	if r.hasMore {
		r.hasMore = false
		return r.ahead, nil
	}
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(line) > MaxLength {
				return nil, fmt.Errorf("%s, line %d: line is longer than %d bytes", r.name, r.number+1, MaxLength)
			}
			continue
		}
		if err == io.EOF && len(line) > 0 {
			err = nil
		}
		if err != nil {
			return nil, err
		}
		r.number++
		if line[len(line)-1] == '\n' {
			line = line[:len(line)-1]
		}
		return line, nil
	}
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && IsSpace(b[0]) {
		b = b[1:]
	}
	return b
}

// IsSpace reports whether c is white space to these files.
func IsSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// cut shortens a text for a warning.
func cut(b []byte) string {
	if len(b) > 30 {
		return string(b[:30]) + "..."
	}
	return string(b)
}
