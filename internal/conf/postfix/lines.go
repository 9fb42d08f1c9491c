package postfix

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A logical line longer than this is refused instead of being collected in memory.
const maxLine = 1 << 20

var errLineTooLong = errors.New("line is too long")

// A lineReader reads the logical lines of main.cf and master.cf: a
// line that begins with white space continues the one before it; comments and
// blank lines may stand anywhere, also between the two.
type lineReader struct {
	r     *bufio.Reader
	name  string
	num   int    // physical lines read
	ahead []byte // the first line of the next logical line
	warn  func(string)
}

func newLineReader(name string, r io.Reader, warn func(string)) *lineReader {
	return &lineReader{r: bufio.NewReader(r), name: name, warn: warn}
}

// next returns a logical line without its newlines, and the number of its
// first physical line. At the end it returns io.EOF. A file that begins with a
// continuation has nothing that it continues: that line is left out.
func (l *lineReader) next() (text string, num int, err error) {
	for {
		logical, num, err := l.logical()
		if err != nil {
			return "", num, err
		}
		if !isSpace(logical[0]) {
			return string(logical), num, nil
		}
		l.warn(fmt.Sprintf("%s: logical line must not start with whitespace: \"%s\"", l.name, excerpt(logical)))
	}
}

func (l *lineReader) logical() (line []byte, num int, err error) {
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
		if !isSpace(more[0]) {
			l.ahead = more
			return line, num, nil
		}
		if len(line)+len(more) > maxLine {
			return nil, num, errLineTooLong
		}
		line = append(line, more...)
	}
}

// physical returns the next line that is neither blank nor a comment. What
// follows a NUL is not seen, as in a C string.
func (l *lineReader) physical() ([]byte, error) {
	for {
		raw, err := l.read()
		if len(raw) == 0 && err != nil {
			return nil, err
		}
		l.num++
		raw = bytes.TrimSuffix(raw, []byte("\n"))
		if i := bytes.IndexByte(raw, 0); i >= 0 {
			raw = raw[:i]
		}
		if rest := bytes.TrimLeft(raw, spaces); len(rest) > 0 && rest[0] != '#' {
			return raw, nil
		}
	}
}

// read returns one line of any length up to maxLine, in memory of its own.
func (l *lineReader) read() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, errLineTooLong
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

// spaces is white space as the C library's isspace has it.
const spaces = " \t\n\v\f\r"

func isSpace(c byte) bool { return strings.IndexByte(spaces, c) >= 0 }

// excerpt is the beginning of a line for a message, fit to be printed.
func excerpt(s []byte) string {
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

// splitNameValue splits "name = value" and trims both.
func splitNameValue(s string) (name, value string, err error) {
	s = strings.TrimLeft(s, spaces)
	n := strings.IndexAny(s, spaces+"=")
	if n < 0 {
		n = len(s)
	}
	if n == 0 {
		return "", "", errors.New("missing attribute name")
	}
	value, ok := strings.CutPrefix(strings.TrimLeft(s[n:], spaces), "=")
	if !ok {
		return "", "", errors.New("missing '=' after attribute name")
	}
	return s[:n], strings.Trim(value, spaces), nil
}
