package attachment

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
)

// A Source is the text of a message as it is stored, decompressed.
type Source interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// A Body is a message with its attachments where they belong.
type Body struct {
	text  Source
	size  int64
	parts []part
}

// A part of a message lies in the stored text or in a file.
type part struct {
	start, end int64 // in the message
	file       *os.File
	at         int64 // of the begin in the stored text
	fileSize   int64
	ref        *Ref
}

// Open returns the message of which text is what was stored, and closes text with it or when
// it fails. suffix ends the names of the message's files. ErrDamaged, or what opening a file
// says.
func (s *Store) Open(text Source, refs []Ref, suffix string) (*Body, error) {
	b := &Body{text: text}
	if err := b.open(s, refs, suffix); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Body) open(s *Store, refs []Ref, suffix string) error {
	at := int64(0)
	for i := range refs {
		r := &refs[i]
		if r.Start > b.size {
			n := r.Start - b.size
			if n > b.text.Size()-at {
				return damaged("%s belongs at %d, behind the message", r.Path, r.Start)
			}
			b.parts = append(b.parts, part{start: b.size, end: r.Start, at: at})
			at += n
		}
		f, err := s.open(r.Path, suffix)
		if err != nil {
			return err
		}
		p := part{start: r.Start, end: r.Start + r.Size, file: f, ref: r}
		b.parts = append(b.parts, p) // which Close closes
		st, err := f.Stat()
		if err != nil {
			return err
		}
		b.parts[len(b.parts)-1].fileSize = st.Size()
		if want := r.encodedSize(st.Size()); want != r.Size {
			return damaged("%s has %d bytes, which are %d in the message and should be %d", f.Name(), st.Size(), want, r.Size)
		}
		b.size = r.Start + r.Size
	}
	if rest := b.text.Size() - at; rest > 0 {
		b.parts = append(b.parts, part{start: b.size, end: b.size + rest, at: at})
		b.size += rest
	}
	return nil
}

// Size returns the size of the message.
func (b *Body) Size() int64 { return b.size }

// Close closes all files.
func (b *Body) Close() error {
	err := b.text.Close()
	for i := range b.parts {
		if f := b.parts[i].file; f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// ReadAt reads from the message.
func (b *Body) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	for i := sort.Search(len(b.parts), func(i int) bool { return b.parts[i].end > off }); i < len(b.parts) && n < len(p); i++ {
		part := &b.parts[i]
		want := p[n:min(int64(len(p)), int64(n)+part.end-off)]
		m, err := b.readPart(part, want, off-part.start)
		n += m
		off += int64(m)
		if m < len(want) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b *Body) readPart(part *part, p []byte, off int64) (int, error) {
	switch {
	case part.file == nil:
		return b.text.ReadAt(p, part.at+off)
	case part.ref.Line == 0:
		return part.file.ReadAt(p, off)
	}
	return part.ref.encodeAt(part.file, part.fileSize, p, off)
}

// newline is the bytes of a line end.
func (r *Ref) newline() string {
	if r.CRLF {
		return "\r\n"
	}
	return "\n"
}

// encodedSize returns the bytes that a file has in the message.
func (r *Ref) encodedSize(n int64) int64 {
	if r.Line == 0 {
		return n
	}
	chars := (n + 2) / 3 * 4
	if chars == 0 {
		return 0
	}
	return chars + (chars-1)/int64(r.Line)*int64(len(r.newline()))
}

// encodeAt reads from a file as it is in the message.
func (r *Ref) encodeAt(f io.ReaderAt, size int64, p []byte, off int64) (n int, err error) {
	nl := r.newline()
	whole := int64(r.Line + len(nl)) // a line with its end
	raw := int64(r.Line) / 4 * 3
	const lines = 64
	src := make([]byte, min(size, max(raw, lines*raw)))
	var text []byte
	for n < len(p) {
		first := off / whole
		count := min((off+int64(len(p)-n)-1)/whole-first+1, max(int64(len(src))/raw, 1))
		part := src[:max(min(count*raw, size-first*raw, int64(len(src))), 0)]
		if len(part) == 0 {
			return n, io.EOF
		}
		if m, err := f.ReadAt(part, first*raw); m < len(part) {
			return n, err
		}
		text = text[:0]
		for k := first; len(part) > 0; k++ {
			line := part[:min(raw, int64(len(part)))]
			part = part[len(line):]
			text = base64.StdEncoding.AppendEncode(text, line)
			if (k+1)*raw < size {
				text = append(text, nl...)
			}
		}
		m := copy(p[n:], text[off-first*whole:])
		n += m
		off += int64(m)
	}
	return n, nil
}
