package postconf

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// An editor copies a file line by line.
type editor struct {
	path string
	src  *os.File
	in   *bufio.Reader
	out  *replacement
	num  int // lines read
}

// edits opens a file of the configuration directory for editing, calls edit and
// replaces the file if that returns no error.
func (c *command) edits(name string, edit func(*editor) error) error {
	path := c.dir + "/" + name
	out, err := replace(path)
	if err != nil {
		return err
	}
	src, err := out.open()
	if err != nil {
		out.discard()
		return err
	}
	defer src.Close()
	e := &editor{path: path, src: src, in: bufio.NewReader(src), out: out}
	if err := edit(e); err != nil {
		out.discard()
		return err
	}
	return out.commit(src)
}

// physical returns the next line with its newline, one added to a last line without.
func (e *editor) physical() (string, error) {
	var line []byte
	for {
		part, err := e.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return "", fmt.Errorf("%s, line %d: line is too long", e.path, e.num+1)
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(line) > 0:
			line = append(line, '\n')
		case err == io.EOF:
			return "", err
		case err != nil:
			return "", fmt.Errorf("read %s: %s", e.path, reason(err))
		}
		e.num++
		return string(line), nil
	}
}

// maxLine bounds a line of a file that is edited.
const maxLine = 64 << 20

// next returns the next line that is neither blank nor a comment; those before it are
// copied.
func (e *editor) next() (string, error) {
	for {
		line, err := e.physical()
		if err != nil || isContent(line) {
			return line, err
		}
		e.copy(line)
	}
}

func isContent(line string) bool {
	rest := strings.TrimLeft(line, logline.Spaces)
	return rest != "" && rest[0] != '#'
}

// continues reports whether a line continues the one before it.
func continues(line string) bool { return logline.IsSpace(line[0]) }

// rest returns the lines that continue an entry, and copies the comments and blank lines
// among and after them.
func (e *editor) rest() (string, error) {
	var b strings.Builder
	for {
		ahead, err := e.in.Peek(1)
		if err == io.EOF || err == nil && ahead[0] != '#' && !logline.IsSpace(ahead[0]) {
			return b.String(), nil
		}
		line, err := e.physical()
		if err != nil {
			return "", err
		}
		if isContent(line) {
			b.WriteString(line)
		} else {
			e.copy(line)
		}
	}
}

// copy writes to the new file; an error is kept for the end.
func (e *editor) copy(text string) { _, _ = e.out.WriteString(text) }
