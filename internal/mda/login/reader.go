package login

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
)

// Limits of what a client may send before it is authenticated. Dovecot's are
// 1 KB for commands and 8 KB for SASL responses.
const (
	maxLine    = 1040 // command line
	maxLiteral = 1024 // literal of an IMAP command
	maxSASL    = 8192 // SASL response in base64
)

// smallBuffer is large enough for every command; only SASL responses may need
// a larger one.
const smallBuffer = 1536

var smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}

var errTooLong = errors.New("line too long")

// A reader reads lines and literals. It owns a small pooled buffer from the
// first byte until release: a connection is allowed three minutes here, and a
// few thousand of them.
type reader struct {
	conn  net.Conn
	small *[smallBuffer]byte // what buf points to, unless it had to grow
	buf   []byte
	r, w  int
}

// line returns the next line without its end. It is valid until the next read.
func (r *reader) line(limit int) ([]byte, error) {
	for from := 0; ; {
		in := r.buf[r.r:r.w]
		if i := bytes.IndexByte(in[from:], '\n'); i >= 0 {
			line := in[:from+i]
			if len(line) > limit+1 {
				return nil, errTooLong
			}
			r.r += len(line) + 1
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		if from = len(in); from > limit+1 {
			return nil, errTooLong
		}
		if err := r.fill(limit + 2); err != nil {
			return nil, err
		}
	}
}

// literal returns the next n bytes, n being at most maxLiteral.
func (r *reader) literal(n int) ([]byte, error) {
	for r.w-r.r < n {
		if err := r.fill(n); err != nil {
			return nil, err
		}
	}
	p := r.buf[r.r : r.r+n]
	r.r += n
	return p, nil
}

// pending returns what was read and not used yet.
func (r *reader) pending() []byte { return r.buf[r.r:r.w] }

// hasLine reports whether a whole line is buffered.
func (r *reader) hasLine() bool { return bytes.IndexByte(r.pending(), '\n') >= 0 }

// fill reads more, so that at least need bytes have room in the buffer.
func (r *reader) fill(need int) error {
	r.makeRoom(need)
	n, err := r.conn.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (r *reader) makeRoom(need int) {
	switch {
	case r.buf == nil:
		r.small = smallBuffers.Get().(*[smallBuffer]byte)
		r.buf = r.small[:]
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.r > 0:
		copy(r.buf, r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
	}
	if len(r.buf) < need {
		grown := make([]byte, maxSASL+2)
		copy(grown, r.buf[:r.w])
		r.buf = grown
	}
}

// discard forgets buffered input. RFC 3501 6.2.1: nothing that came in plain
// text may be taken for commands inside TLS.
func (r *reader) discard() { r.r, r.w = 0, 0 }

// release gives the buffer back, wiped: it may have held a password.
func (r *reader) release() {
	clear(r.buf)
	if r.small != nil {
		clear(r.small[:])
		smallBuffers.Put(r.small)
	}
	*r = reader{conn: r.conn}
}
