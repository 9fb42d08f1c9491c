package dovecot

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

type lineKind uint8

const (
	lineKey        lineKind = iota // key = value
	lineVariable                   // key = value with $words
	lineFile                       // key = <value
	lineSection                    // key value {
	lineEnd                        // }
	lineInclude                    // !include value
	lineIncludeTry                 // !include_try value
)

type line struct {
	kind       lineKind
	key, value string
	num        int // of the last physical line
}

var (
	errLineTooLong = errors.New("Line is too long")
	errNoKey       = errors.New("Missing key name ('=' at the beginning of line)")
	errNoBrace     = errors.New("Expecting '{'")
	errGarbage     = errors.New("Garbage after '{'")
)

// A lexer splits one file into logical lines.
type lexer struct {
	r       *bufio.Reader
	num     int
	warn    func(text string, num int)
	partial []byte // pieces of a continued line
}

// next returns the next line that holds something, or io.EOF. The line number
// is valid with errors too. A continuation that meets the end of the file is
// lost, as in Dovecot.
func (l *lexer) next() (line, error) {
	for {
		raw, err := l.physical()
		if err != nil {
			return line{num: l.num}, err
		}
		text := l.trim(raw)
		if len(text) == 0 {
			l.partial = l.partial[:0]
			continue
		}
		if text[len(text)-1] == '\\' {
			if err := l.keep(bytes.TrimRight(text[:len(text)-1], " \t")); err != nil {
				return line{num: l.num}, err
			}
			continue
		}
		if len(l.partial) > 0 {
			text = append(l.partial, text...)
			l.partial = nil
		}
		ln, err := parseLine(string(text))
		ln.num = l.num
		return ln, err
	}
}

func (l *lexer) keep(piece []byte) error {
	if len(l.partial)+len(piece) > maxLine {
		return errLineTooLong
	}
	if len(piece) > 0 {
		l.partial = append(append(l.partial, piece...), ' ')
	}
	return nil
}

// physical reads one line without its end. Dovecot's lines are C strings, so
// what follows a NUL is not seen.
func (l *lexer) physical() ([]byte, error) {
	raw, err := l.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		raw = bytes.Clone(raw)
		for err == bufio.ErrBufferFull && len(raw) <= maxLine {
			var more []byte
			more, err = l.r.ReadSlice('\n')
			raw = append(raw, more...)
		}
		if len(raw) > maxLine {
			l.num++
			return nil, errLineTooLong
		}
	}
	if err != nil && (err != io.EOF || len(raw) == 0) {
		return nil, err
	}
	l.num++
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	raw = bytes.TrimSuffix(raw, []byte("\r"))
	if i := bytes.IndexByte(raw, 0); i >= 0 {
		raw = raw[:i]
	}
	return raw, nil
}

// trim removes white space around the line and the comment at its end. A quote
// anywhere in the line protects '#' up to its partner, or to the end.
func (l *lexer) trim(s []byte) []byte {
	s = bytes.TrimLeft(s, " \t")
	if len(s) == 0 || s[0] == '#' {
		return nil
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\'', '"':
			i = closingQuote(s, i)
		case '#':
			if !isBlank(s[i-1]) {
				l.warn("Ambiguous '#' character in line, treating it as comment. Add a space before it to remove this warning.", l.num)
			}
			s = s[:i]
		}
	}
	return bytes.TrimRight(s, " \t")
}

// closingQuote returns the index of the quote that closes the one at s[i], or
// len(s).
func closingQuote(s []byte, i int) int {
	quote := s[i]
	for i++; i < len(s) && s[i] != quote; i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
	}
	return i
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func skipBlanks(s string) string { return strings.TrimLeft(s, " \t") }

// parseLine takes a trimmed logical line apart.
func parseLine(s string) (line, error) {
	n := strings.IndexAny(s, " \t=")
	if n == 0 {
		return line{}, errNoKey
	}
	if n < 0 {
		n = len(s)
	}
	key, rest := s[:n], skipBlanks(s[n:])
	switch {
	case key == "!include":
		return line{kind: lineInclude, key: key, value: rest}, nil
	case key == "!include_try":
		return line{kind: lineIncludeTry, key: key, value: rest}, nil
	case strings.HasPrefix(rest, "="):
		return parseValue(key, skipBlanks(rest[1:])), nil
	case key == "}" && rest == "":
		return line{kind: lineEnd}, nil
	}
	return parseSection(key, rest)
}

func parseValue(key, v string) line {
	if strings.HasPrefix(v, "<") {
		return line{kind: lineFile, key: key, value: skipBlanks(v[1:])}
	}
	if n := len(v); n > 0 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		// A lone quote is an empty text.
		return line{kind: lineKey, key: key, value: unescape(v[min(1, n-1) : n-1])}
	}
	if strings.Contains(v, "$") {
		return line{kind: lineVariable, key: key, value: v}
	}
	return line{kind: lineKey, key: key, value: v}
}

// parseSection reads "name {" after the section type key.
func parseSection(key, rest string) (line, error) {
	ln := line{kind: lineSection, key: key}
	switch {
	case strings.HasPrefix(rest, "{"):
	case strings.HasPrefix(rest, `"`):
		end := strings.IndexByte(rest[1:], '"')
		if end < 0 {
			return line{}, errNoBrace
		}
		ln.value = unescape(rest[1 : 1+end])
		rest = skipBlanks(rest[end+2:])
	default:
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			return line{}, errNoBrace
		}
		ln.value = rest[:end]
		rest = skipBlanks(rest[end:])
	}
	if !strings.HasPrefix(rest, "{") {
		return line{}, errNoBrace
	}
	if rest != "{" {
		return line{}, errGarbage
	}
	return ln, nil
}

// unescape turns \x into x for every x; a backslash at the end vanishes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) {
				break
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// Error is a configuration that cannot be used. Its text is Dovecot's, without
// the "doveconf: Fatal: " in front.
type Error struct {
	File string
	Line int // 0 if the whole file is meant
	Text string

	// What was reported before the error, if there is no Config to have it; see Config.Diagnostics.
	Warnings, Errors []string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("Error in configuration file %s: %s", e.File, e.Text)
	}
	return fmt.Sprintf("Error in configuration file %s line %d: %s", e.File, e.Line, e.Text)
}
