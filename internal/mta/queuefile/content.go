package queuefile

import (
	"bytes"
	"io"
	"strings"
)

// A content is where the records of the content lie.
type content struct {
	src     io.ReaderAt
	size    int64 // of the file
	start   int64 // offset of the first record
	unended bool
}

// skipContent reads the content to its end, and notes where it is.
func (p *parser) skipContent() error {
	c := &p.m.content
	*c = content{src: p.src, size: p.size, start: p.r.next}
	for {
		rec, err := p.record(maxRecord)
		if err != nil {
			return err
		}
		switch {
		case rec.Type == TypeExtracted:
			return nil
		case strings.IndexByte(contentTypes, rec.Type) < 0:
			return corrupt("unexpected record type %q in the content at offset %d", rec.Type, p.r.start)
		case rec.Type != TypePadding:
			c.unended = rec.Type == TypePiece
		}
	}
}

func (c *content) reader() io.Reader {
	r := &contentReader{p: parser{src: c.src, size: c.size}, unended: c.unended}
	r.p.seek(c.start)
	return r
}

// A contentReader gives the text of the content.
type contentReader struct {
	p       parser
	rest    []byte // text of the record under way
	end     bool   // a line end follows it
	unended bool   // one is missing at the end
	err     error
}

var crlf = []byte("\r\n")

// Read implements [io.Reader].
func (r *contentReader) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if len(r.rest) == 0 && !r.fill() {
			break
		}
		k := copy(b[n:], r.rest)
		r.rest = r.rest[k:]
		n += k
	}
	if n == 0 && len(b) > 0 {
		return 0, r.err
	}
	return n, nil
}

// fill takes the next text.
func (r *contentReader) fill() bool {
	if r.end {
		r.rest, r.end = crlf, false
		return true
	}
	for r.err == nil {
		rec, err := r.p.record(maxRecord)
		switch {
		case err != nil:
			r.err = err
		case rec.Type == TypeExtracted && r.unended:
			r.rest, r.unended = crlf, false
			r.err = io.EOF
			return true
		case rec.Type == TypeExtracted:
			r.err = io.EOF
		case rec.Type == TypeLine:
			r.rest, r.end = rec.Data, true
			return len(rec.Data) > 0 || r.fill()
		case rec.Type == TypePiece && len(rec.Data) > 0:
			r.rest = rec.Data
			return true
		}
	}
	return false
}

// pieceSize is the longest text that Postfix puts into one record
// (line_length_limit).
const pieceSize = 2048

// WriteContent gives content, lines that end in CRLF, to put as records.
func WriteContent(put func(typ byte, data []byte) error, content io.Reader) error {
	c := &contentWriter{write: put, line: make([]byte, 0, pieceSize)}
	// The wrapper keeps io.CopyBuffer from going around the buffer.
	if _, err := io.CopyBuffer(c, struct{ io.Reader }{content}, make([]byte, 32<<10)); err != nil {
		return err
	}
	return c.finish()
}

// A contentWriter turns content into records. Only CRLF ends a line; other CRs
// and LFs are text.
type contentWriter struct {
	write func(typ byte, data []byte) error
	line  []byte
	cr    bool // held back: does LF follow?
	any   bool // a record was written
	open  bool // the last one was a piece
}

// Write implements [io.Writer].
func (c *contentWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if c.cr {
			c.cr = false
			if p[0] == '\n' {
				p = p[1:]
				if err := c.endLine(); err != nil {
					return 0, err
				}
				continue
			}
			if err := c.text(crlf[:1]); err != nil {
				return 0, err
			}
		}
		text, rest, found := bytes.Cut(p, crlf[:1])
		if err := c.text(text); err != nil {
			return 0, err
		}
		c.cr, p = found, rest
	}
	return n, nil
}

// text takes text of the line. A piece goes out as soon as it is full.
func (c *contentWriter) text(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), pieceSize-len(c.line))
		c.line = append(c.line, p[:n]...)
		p = p[n:]
		if len(c.line) == pieceSize {
			if err := c.put(TypePiece); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *contentWriter) put(typ byte) error {
	err := c.write(typ, c.line)
	c.line = c.line[:0]
	c.any, c.open = true, typ == TypePiece
	return err
}

func (c *contentWriter) endLine() error { return c.put(TypeLine) }

// finish ends the last line, if it has no end, as Postfix does. There is one
// record at least: without any the queue manager refuses the file.
func (c *contentWriter) finish() error {
	if c.cr {
		c.cr = false
		if err := c.text(crlf[:1]); err != nil {
			return err
		}
	}
	if len(c.line) > 0 || c.open || !c.any {
		return c.endLine()
	}
	return nil
}
