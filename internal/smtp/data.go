package smtp

import (
	"bytes"
	"io"
)

// LineEnds says which line ends a client may use in content.
type LineEnds uint8

// Bare LF becomes CRLF with either; they differ in what ends DATA.
const (
	// StandardEnd: only <CR><LF>.<CR><LF> ends the content (RFC 5321 4.1.1.4).
	// A lone dot with a bare LF before or after it is dropped, as Postfix does
	// with smtpd_forbid_bare_newline.
	StandardEnd LineEnds = iota
	// AnyEnd: a dot alone on its line ends the content, whatever the line ends.
	AnyEnd
)

// contentState is where in the content a reader is.
type contentState struct {
	ends   LineEnds
	bol    bool // at the beginning of a line
	crlf   bool // the line before it ended in CRLF
	cr     bool // chunks: the last byte was CR
	insert bool // CRLF is due in place of a bare LF
}

var crlf = []byte("\r\n")

// StartData begins to read the content after DATA.
func (r *Reader) StartData(ends LineEnds) {
	r.content = contentState{ends: ends, bol: true, crlf: true}
	r.bareLF = false
}

// ReadData returns the next piece of the content: without dot-stuffing, and
// with every line ending in CRLF. The end of the content is io.EOF; an end of
// input before it is io.ErrUnexpectedEOF. A piece is never empty and is valid
// until the next call.
//
// Pieces end where something must be left out or put in, so nothing is copied.
func (r *Reader) ReadData() ([]byte, error) {
	s := &r.content
	if s.insert {
		s.insert = false
		return crlf, nil
	}
	for {
		if r.r == r.w {
			if err := r.fillContent(); err != nil {
				return nil, err
			}
		}
		if s.bol && r.buf[r.r] == '.' {
			skip, end, err := r.dot()
			if err != nil {
				return nil, err
			}
			r.r += skip
			if end {
				return nil, io.EOF
			}
			s.bol = false
			if skip > 1 { // a dropped line
				s.bol, s.crlf = true, r.buf[r.r-2] == '\r'
			}
			continue
		}
		if piece := r.dataPiece(); len(piece) > 0 {
			return piece, nil
		}
		if s.insert {
			s.insert = false
			return crlf, nil
		}
		// What is left is a CR whose LF has not arrived.
		if err := r.fillContent(); err != nil {
			return nil, err
		}
	}
}

// fillContent is fill where the end of input is an error.
func (r *Reader) fillContent() error {
	err := r.fill()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// dot looks at a line that begins with a dot: how many bytes of it to leave
// out, and whether it ends the content.
func (r *Reader) dot() (skip int, end bool, err error) {
	for r.w-r.r < 3 {
		if r.w-r.r == 2 && r.buf[r.r+1] != '\r' {
			break
		}
		if err := r.fillContent(); err != nil {
			return 0, false, err
		}
	}
	in := r.buf[r.r:r.w]
	switch {
	case in[1] == '\n':
		r.bareLF = true
		return 2, r.content.ends == AnyEnd, nil
	case len(in) > 2 && in[1] == '\r' && in[2] == '\n':
		return 3, r.content.ends == AnyEnd || r.content.crlf, nil
	}
	return 1, false, nil
}

// dataPiece returns what goes on unchanged, up to a stuffed dot, a bare LF or
// the end of the buffer.
func (r *Reader) dataPiece() []byte {
	s := &r.content
	in := r.buf[r.r:r.w]
	for i := 0; ; {
		n := bytes.IndexByte(in[i:], '\n')
		if n < 0 {
			i = len(in)
			// Keep a CR back until it is known whether a LF follows.
			if i > 0 && in[i-1] == '\r' {
				i--
			}
			if i > 0 {
				s.bol = false
			}
			r.r += i
			return in[:i]
		}
		i += n
		if i == 0 || in[i-1] != '\r' {
			r.bareLF = true
			r.r += i + 1
			s.bol, s.crlf, s.insert = true, false, true
			return in[:i]
		}
		i++
		if i == len(in) || in[i] == '.' {
			r.r += i
			s.bol, s.crlf = true, true
			return in[:i]
		}
		s.bol, s.crlf = true, true
	}
}

// StartChunks begins to read the content of a series of BDAT commands.
func (r *Reader) StartChunks() {
	r.content = contentState{}
	r.bareLF = false
}

// ReadChunk returns the next piece of a BDAT chunk of which *left bytes have
// not been read, and takes those it read from *left. Bare LF becomes CRLF; a CRLF
// may be cut in two by the end of a chunk. io.EOF is the end of the chunk. A
// piece may be empty.
func (r *Reader) ReadChunk(left *int64) ([]byte, error) {
	s := &r.content
	if s.insert {
		s.insert = false
		return crlf, nil
	}
	if *left == 0 {
		return nil, io.EOF
	}
	if r.r == r.w {
		if err := r.fillContent(); err != nil {
			return nil, err
		}
	}
	in := r.buf[r.r:r.w]
	if int64(len(in)) > *left {
		in = in[:*left]
	}
	for i := 0; ; i++ {
		n := bytes.IndexByte(in[i:], '\n')
		if n < 0 {
			s.cr = in[len(in)-1] == '\r'
			r.take(len(in), left)
			return in, nil
		}
		i += n
		if i > 0 && in[i-1] == '\r' || i == 0 && s.cr {
			if i == len(in)-1 {
				s.cr = false
				r.take(len(in), left)
				return in, nil
			}
			continue
		}
		r.bareLF = true
		s.cr, s.insert = false, true
		r.take(i+1, left)
		return in[:i], nil
	}
}

func (r *Reader) take(n int, left *int64) {
	r.r += n
	*left -= int64(n)
}

// SkipChunk reads and drops the rest of a BDAT chunk.
func (r *Reader) SkipChunk(left int64) error {
	for left > 0 {
		if r.r == r.w {
			if err := r.fillContent(); err != nil {
				return err
			}
		}
		r.take(int(min(left, int64(r.w-r.r))), &left)
	}
	return nil
}
