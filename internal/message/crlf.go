package message

import (
	"bytes"
	"io"
)

// A CRLFReader reads the same text with every line ended by CRLF, the form in
// which IMAP and POP3 serve it. It takes no buffer of its own until a line end
// does not fit into the caller's.
type CRLFReader struct {
	r     io.Reader
	buf   []byte // read, not yet delivered
	store []byte
	cr    bool // the last byte delivered is CR
	err   error
}

// crlfBuffer is how much is read at once.
const crlfBuffer = 16 << 10

// NewCRLFReader returns a reader of r's text with CRLF line ends.
func NewCRLFReader(r io.Reader) *CRLFReader { return &CRLFReader{r: r} }

// Reset makes the reader read from r, keeping its buffer.
func (c *CRLFReader) Reset(r io.Reader) {
	*c = CRLFReader{r: r, store: c.store}
}

// Read fills p.
func (c *CRLFReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.buf) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		if c.store == nil {
			c.store = make([]byte, crlfBuffer)
		}
		var n int
		n, c.err = c.r.Read(c.store)
		c.buf = c.store[:n]
	}
	n, used := c.convert(p, c.buf)
	c.buf = c.buf[used:]
	return n, nil
}

// convert copies from src to dst and returns how much was written and used.
func (c *CRLFReader) convert(dst, src []byte) (n, used int) {
	for used < len(src) && n < len(dst) {
		if src[used] == '\n' && !c.cr {
			dst[n] = '\r'
			n++
			c.cr = true
			continue
		}
		end := bytes.IndexByte(src[used+1:], '\n')
		if end < 0 {
			end = len(src)
		} else {
			end += used + 1
		}
		m := copy(dst[n:], src[used:end])
		n += m
		used += m
		c.cr = dst[n-1] == '\r'
	}
	return n, used
}
