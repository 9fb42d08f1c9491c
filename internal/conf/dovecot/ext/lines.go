package ext

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

const (
	maxLine     = 1 << 20  // bytes of a logical line
	maxFile     = 64 << 20 // bytes read in all
	maxIncludes = 100      // files being read
)

type lineKind uint8

const (
	lineKey     lineKind = iota // key = value
	lineSection                 // key value {
	lineEnd                     // }
)

type line struct {
	kind       lineKind
	key, value string
}

var (
	errLineTooLong = errors.New("Line is too long")
	errTooLarge    = errors.New("Configuration is too large")
	errNoEquals    = errors.New("Expecting '='")
)

// A reader gives the logical lines of a file and of those it includes.
type reader struct {
	open func(path string) (io.ReadCloser, error)
	glob func(pattern string) []string
	warn func(text string)

	files   []source // being read, the last one first
	partial []byte   // pieces of a continued line
	size    int
}

// A source is one file.
type source struct {
	path string
	r    *bufio.Reader
	c    io.Closer
	num  int // of the last line read
}

func newReader(warn func(string)) *reader {
	return &reader{
		open: func(path string) (io.ReadCloser, error) { return os.Open(path) },
		glob: dovecot.Glob,
		warn: warn,
	}
}

// push begins to read a file.
func (r *reader) push(path string) error {
	f, err := r.open(path)
	if err != nil {
		return err
	}
	r.files = append(r.files, source{path: path, r: bufio.NewReader(f), c: f})
	return nil
}

// where is the file being read and the number of the line.
func (r *reader) where() (path string, num int) {
	s := &r.files[len(r.files)-1]
	return s.path, s.num
}

func (r *reader) close() {
	for _, s := range r.files {
		s.c.Close()
	}
	r.files = nil
}

// next returns the next line that is not an include, or io.EOF. A continuation that meets the end
// of all files is lost.
func (r *reader) next() (line, error) {
	for {
		text, err := r.logical()
		if err != nil {
			return line{}, err
		}
		key, rest := cutKey(text)
		switch {
		case key == "!include" || key == "!include_try":
			if err := r.include(rest, key == "!include_try"); err != nil {
				return line{}, err
			}
		case strings.HasPrefix(rest, "="):
			return line{lineKey, key, value(skipBlanks(rest[1:]))}, nil
		case key == "}" && rest == "":
			return line{kind: lineEnd}, nil
		default:
			return section(key, rest)
		}
	}
}

// logical joins physical lines to a logical one, without comments and blanks around it.
func (r *reader) logical() (string, error) {
	for {
		raw, err := r.physical()
		if err != nil {
			return "", err
		}
		text := skipBlanks(raw)
		if text == "" || text[0] == '#' {
			continue
		}
		text = strings.TrimRight(r.cutComment(text), " \t")
		if head, more := strings.CutSuffix(text, `\`); more {
			if len(r.partial)+len(head) > maxLine {
				return "", errLineTooLong
			}
			r.partial = append(append(r.partial, strings.TrimRight(head, " \t")...), ' ')
			continue
		}
		text = string(r.partial) + text
		r.partial = r.partial[:0]
		return text, nil
	}
}

// physical reads one line of the file at the top, going on with the one that
// included it at its end. Dovecot's lines are C strings, so what follows a NUL is not seen.
func (r *reader) physical() (string, error) {
	for len(r.files) > 0 {
		s := &r.files[len(r.files)-1]
		raw, err := readLine(s.r)
		// A directory can be opened and has no lines.
		if err == io.EOF || errors.Is(err, syscall.EISDIR) {
			s.c.Close()
			r.files = r.files[:len(r.files)-1]
			continue
		}
		s.num++
		if r.size += len(raw); err == nil && r.size > maxFile {
			err = errTooLarge
		}
		raw, _, _ = strings.Cut(raw, "\x00")
		return raw, err
	}
	return "", io.EOF
}

// readLine reads up to a newline or the end, and leaves line ends out.
func readLine(b *bufio.Reader) (string, error) {
	var all []byte
	for {
		raw, err := b.ReadSlice('\n')
		if len(all)+len(raw) > maxLine {
			return "", errLineTooLong
		}
		all = append(all, raw...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && (err != io.EOF || len(all) == 0) {
			return "", err
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(all), "\n"), "\r"), nil
	}
}

// cutComment removes a comment. A quote anywhere in the line protects '#' up to its
// partner, or to the end.
func (r *reader) cutComment(s string) string {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\'', '"':
			i = closingQuote(s, i)
		case '#':
			if s[i-1] != ' ' && s[i-1] != '\t' {
				path, num := r.where()
				r.warn(fmt.Sprintf("Configuration file %s line %d: Ambiguous '#' character in line, treating it as comment. Add a space before it to remove this warning.", path, num))
			}
			return s[:i]
		}
	}
	return s
}

// closingQuote returns the index of the quote that closes the one at s[i], or
// len(s).
func closingQuote(s string, i int) int {
	quote := s[i]
	for i++; i < len(s) && s[i] != quote; i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
	}
	return i
}

func skipBlanks(s string) string { return strings.TrimLeft(s, " \t") }

// cutKey splits a line after its first word, which '=' ends too.
func cutKey(s string) (key, rest string) {
	n := strings.IndexAny(s, " \t=")
	if n < 0 {
		return s, ""
	}
	if s[n] == '=' && strings.HasPrefix(s, "!include") {
		// Only a blank ends these words.
		return s[:n], s[n:]
	}
	return s[:n], skipBlanks(s[n:])
}

// value takes the quotes off, or replaces the $ENV:NAME words of a text that has none.
func value(v string) string {
	if n := len(v); n > 0 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		return unescape(v[min(1, n-1) : n-1]) // a lone quote is an empty text
	}
	return expandEnv(v)
}

// unescape turns \x into x for every x; a backslash at the end vanishes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) {
				break
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// expandEnv replaces $ENV:NAME at the beginning or after a blank; the name goes
// up to the next space.
func expandEnv(v string) string {
	const word = "$ENV:"
	var b strings.Builder
	for i := 0; i < len(v); {
		if !strings.HasPrefix(v[i:], word) || i > 0 && v[i-1] != ' ' && v[i-1] != '\t' {
			b.WriteByte(v[i])
			i++
			continue
		}
		name, _, _ := strings.Cut(v[i+len(word):], " ")
		b.WriteString(os.Getenv(name))
		i += len(word) + len(name)
	}
	return b.String()
}

// section reads "name {" after the type of a section.
func section(kind, rest string) (line, error) {
	name := ""
	if !strings.HasPrefix(rest, "{") {
		n := strings.IndexAny(rest, " \t")
		if n < 0 {
			return line{}, errNoEquals
		}
		name, rest = rest[:n], skipBlanks(rest[n:])
	}
	if !strings.HasPrefix(rest, "{") {
		return line{}, errNoEquals
	}
	return line{lineSection, kind, name}, nil
}

// include puts the files that match on top of the others: the last one is read first.
func (r *reader) include(pattern string, try bool) error {
	if !filepath.IsAbs(pattern) {
		path, _ := r.where()
		dir, _ := filepath.Split(path)
		pattern = dir + pattern
	}
	paths := r.glob(pattern)
	if len(paths) == 0 && !try {
		return errors.New("No matches")
	}
	for _, path := range paths {
		reading := func(s source) bool { return s.path == path }
		if slices.ContainsFunc(r.files, reading) || len(r.files) >= maxIncludes {
			return fmt.Errorf("Recursive include file: %s", path)
		}
		if err := r.push(path); err != nil && !try {
			return fmt.Errorf("Couldn't open include file %s: %s", path, errnoText(err))
		}
	}
	return nil
}

// errnoText is the system's text of an error as C programs print it.
func errnoText(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	s := no.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}
