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
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is the longest logical line. A longer one is refused instead of
// being collected in memory.
const maxLine = 1 << 20

// ErrTooLong is a logical line of more than 1 MB.
var ErrTooLong = errors.New("line is too long")

// A Reader reads logical lines.
type Reader struct {
	r     *bufio.Reader
	name  string
	num   int    // physical lines read
	ahead []byte // the first line of the next logical line
	warn  func(string)
}

// NewReader returns a reader of r. name is the file's, for warnings, which go to
// warn; nil drops them.
func NewReader(r io.Reader, name string, warn func(string)) *Reader {
	if warn == nil {
		warn = func(string) {}
	}
	return &Reader{r: bufio.NewReader(r), name: name, warn: warn}
}

// Next returns a logical line without its newlines, and the number of its
// first physical line. At the end it returns io.EOF. A file that begins with a
// continuation has nothing that it continues: that line is left out.
func (l *Reader) Next() (text string, num int, err error) {
	for {
		logical, num, err := l.logical()
		if err != nil {
			return "", num, err
		}
		if !IsSpace(logical[0]) {
			return string(logical), num, nil
		}
		l.warn(fmt.Sprintf("%s: logical line must not start with whitespace: \"%s\"", l.name, Excerpt(logical)))
	}
}

func (l *Reader) logical() (line []byte, num int, err error) {
	if line = l.ahead; line == nil {
		if line, err = l.physical(); err != nil {
			return nil, l.num, err
		}
	}
	l.ahead, num = nil, l.num
	for {
		more, err := l.physical()
		if err == io.EOF {
			return line, num, nil
		}
		if err != nil {
			return nil, l.num, err
		}
		if !IsSpace(more[0]) {
			l.ahead = more
			return line, num, nil
		}
		if len(line)+len(more) > maxLine {
			return nil, num, ErrTooLong
		}
		line = append(line, more...)
	}
}

// physical returns the next line that is neither blank nor a comment. What
// follows a NUL is not seen, as in a C string.
func (l *Reader) physical() ([]byte, error) {
	for {
		raw, err := l.read()
		if len(raw) == 0 && err != nil {
			if errors.Is(err, ErrTooLong) {
				l.num++
			}
			return nil, err
		}
		l.num++
		raw = bytes.TrimSuffix(raw, []byte("\n"))
		if i := bytes.IndexByte(raw, 0); i >= 0 {
			raw = raw[:i]
		}
		if rest := bytes.TrimLeft(raw, Spaces); len(rest) > 0 && rest[0] != '#' {
			return raw, nil
		}
	}
}

// read returns one line of any length up to maxLine, in memory of its own.
func (l *Reader) read() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, ErrTooLong
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF && len(line) > 0 {
			err = nil
		}
		return line, err
	}
}

// Spaces is white space as the C library's isspace has it.
const Spaces = " \t\n\v\f\r"

// IsSpace reports whether c is white space.
func IsSpace(c byte) bool { return strings.IndexByte(Spaces, c) >= 0 }

// Excerpt is the beginning of a line for a message, fit to be printed.
func Excerpt(s []byte) string {
	tail := ""
	if len(s) > 30 {
		s, tail = s[:30], "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, string(s)) + tail
}
