package cleanup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A draft is the content of a message that milters have not seen yet: the header by
// fields, the body in memory while it is small and in a file without name otherwise.
type draft struct {
	fields   []field
	size     int    // of all fields
	part     []byte // of the line under way in the header
	hasBody  bool   // the empty line has come
	received bool   // a Received header has come
	body     spool
	file     func() (*os.File, error)
}

// A field is one header, all its lines with their ends.
type field struct {
	text   []byte
	hidden bool // milters are not shown the Received header that was added here
}

// maxDraftHeader bounds what is kept in memory of a message. Milters' libraries keep the
// header in memory as well.
const maxDraftHeader = 4 << 20

// What is wrong with a draft.
var (
	errHeaderSize = fmt.Errorf("header of more than %d bytes, which is too much for milters", maxDraftHeader)
	errBodySize   = errors.New("queue file size limit exceeded")
)

// write takes a part of the content, as it would be queued.
func (d *draft) write(p []byte) error {
	for len(p) > 0 && !d.hasBody {
		n := bytes.IndexByte(p, '\n') + 1
		if d.size+len(d.part)+len(p[:n]) > maxDraftHeader {
			return errHeaderSize
		}
		if n == 0 {
			d.part = append(d.part, p...)
			return nil
		}
		d.part = append(d.part, p[:n]...)
		p = p[n:]
		d.line()
	}
	if len(p) == 0 {
		return nil
	}
	return d.body.write(p, d.file)
}

// line takes a complete line of the header.
func (d *draft) line() {
	line := d.part
	d.part = nil
	switch {
	case line[0] == '\r' || line[0] == '\n':
		d.hasBody = true
		return
	case (line[0] == ' ' || line[0] == '\t') && len(d.fields) > 0:
		last := &d.fields[len(d.fields)-1]
		last.text = append(last.text, line...)
	default:
		hidden := !d.received && hasName(line, "received")
		d.received = d.received || hidden
		d.fields = append(d.fields, field{line, hidden})
	}
	d.size += len(line)
}

// end ends the content: its last line may have no end.
func (d *draft) end() {
	if len(d.part) > 0 && !d.hasBody {
		d.part = append(d.part, crlf...)
		d.line()
	}
}

// hasName tells whether a header has a name, given in lower case.
func hasName(text []byte, name string) bool {
	n, ok := headerName(text)
	return ok && equalFold(text[:n], name)
}

// insert puts a header before the one at an index.
func (d *draft) insert(i int, text []byte) error {
	if d.size += len(text); d.size > maxDraftHeader {
		return errHeaderSize
	}
	d.fields = slices.Insert(d.fields, min(i, len(d.fields)), field{text: text})
	return nil
}

// find returns where the nth header of a name is that milters see; -1 for none.
func (d *draft) find(name string, n int) int {
	for i := range d.fields {
		f := &d.fields[i]
		if end, ok := headerName(f.text); !ok || f.hidden || !bytes.EqualFold(f.text[:end], []byte(name)) {
			continue
		}
		if n--; n == 0 {
			return i
		}
	}
	return -1
}

// copyTo writes the content.
func (d *draft) copyTo(w io.Writer) error {
	for i := range d.fields {
		if _, err := w.Write(d.fields[i].text); err != nil {
			return err
		}
	}
	if !d.hasBody {
		return nil
	}
	if _, err := w.Write(crlf); err != nil {
		return err
	}
	_, err := io.Copy(w, d.body.reader())
	return err
}

func (d *draft) close() { d.body.close() }

// A spool holds a body.
type spool struct {
	mem  []byte
	f    *os.File
	size int64 // in the file
}

// maxSpool is how much of a body is kept in memory: most messages fit.
const maxSpool = 64 << 10

func (s *spool) write(p []byte, file func() (*os.File, error)) error {
	if n := min(len(p), maxSpool-len(s.mem)); n > 0 {
		s.mem = append(s.mem, p[:n]...)
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	if s.f == nil {
		f, err := file()
		if err != nil {
			return fmt.Errorf("file for a message that milters look at: %w", err)
		}
		s.f = f
	}
	n, err := s.f.Write(p)
	s.size += int64(n)
	return err
}

// length is how much there is.
func (s *spool) length() int64 { return int64(len(s.mem)) + s.size }

// reader reads all, from the beginning.
func (s *spool) reader() io.Reader {
	if s.f == nil {
		return bytes.NewReader(s.mem)
	}
	return io.MultiReader(bytes.NewReader(s.mem), io.NewSectionReader(s.f, 0, s.size))
}

func (s *spool) close() {
	if s.f != nil {
		s.f.Close()
	}
	*s = spool{}
}

// temporaryFile is the file for drafts where the configuration has none better.
func temporaryFile() (*os.File, error) {
	f, err := os.CreateTemp("", "milter")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
