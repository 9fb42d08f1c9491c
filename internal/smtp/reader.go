package smtp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// bufferSize is the size of a read buffer: large enough for a usual message
// to come with one system call, small enough for many slow clients.
const bufferSize = 32 << 10

type buffer [bufferSize]byte

var bufferPool = sync.Pool{New: func() any { return new(buffer) }}

// ErrLineTooLong comes with the beginning of a line that is longer than the
// reader's limit; the rest of it has been skipped.
var ErrLineTooLong = errors.New("line too long")

// A Reader reads lines and content from a connection. It is not safe for
// concurrent use. It can be used again after [Reader.Reset].
type Reader struct {
	conn    net.Conn
	raw     syscall.RawConn // nil: conn is no plain socket (TLS, tests)
	maxLine int

	buf  *buffer
	r, w int
	err  error // sticky, returned when the buffer is empty

	timeout time.Duration
	armed   time.Time // when the deadline was set last
	stop    *atomic.Bool
	request request

	bareLF  bool // the last line, or content so far, had a bare LF
	skip    bool // the rest of an over-long line must be skipped
	content contentState

	idle  bool    // no line or content has begun
	first [1]byte // first byte after that, see read

	// Results of rawRead, which is called through a func value that is made
	// once, so that reading allocates nothing.
	rawFunc func(fd uintptr) bool
	rawN    int
	rawErr  error
	rawWait bool
}

// NewReader returns a reader of conn whose lines are at most maxLine bytes
// long, at most 16 KB.
func NewReader(conn net.Conn, maxLine int) *Reader {
	r := new(Reader)
	r.rawFunc = r.rawRead
	r.Reset(conn, maxLine)
	return r
}

// Reset makes the reader read from conn; buffered input is forgotten, as must
// be done with what a client sent in plain text after STARTTLS (RFC 3207 6).
func (r *Reader) Reset(conn net.Conn, maxLine int) {
	r.release()
	r.conn, r.raw = conn, nil
	r.maxLine = min(maxLine, bufferSize/2)
	r.err, r.bareLF, r.skip = nil, false, false
	r.armed = time.Time{}
	r.content = contentState{}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			r.raw = raw
		}
	}
}

// Release gives the buffer back and drops the connection; the reader may be
// kept for a later Reset.
func (r *Reader) Release() {
	r.release()
	r.conn, r.raw, r.err = nil, nil, io.ErrClosedPipe
}

// SetTimeout sets how long a read may wait for input; a write that follows has
// to be over by then too. Zero is for ever. As setting a deadline is not free,
// it is renewed when a tenth of the time has passed, so that a read waits up
// to a tenth longer.
func (r *Reader) SetTimeout(d time.Duration) {
	if r.timeout != d {
		r.timeout = d
		r.armed = time.Time{}
	}
}

// SetStop names a flag of the user of the reader, who sets it and then moves the read deadline of the
// connection into the past to have a read end: the reader, which may be about to move it, too,
// leaves it there.
func (r *Reader) SetStop(flag *atomic.Bool) { r.stop = flag }

// SetMaxLine changes how long lines may be, up to 16 KB.
func (r *Reader) SetMaxLine(n int) { r.maxLine = min(n, bufferSize/2) }

// Buffered returns how much input has been read and not yet been returned.
func (r *Reader) Buffered() int { return r.w - r.r }

// Peek returns the buffered input.
func (r *Reader) Peek() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf[r.r:r.w]
}

// BareLF reports whether the line last read, or the content read since
// [Reader.StartData] or [Reader.StartChunks], had a line that ends with LF alone.
func (r *Reader) BareLF() bool { return r.bareLF }

// Poll reads what has arrived already, without waiting, and returns how much
// input is buffered.
func (r *Reader) Poll() int {
	if r.w > r.r || r.raw == nil || r.err != nil {
		return r.w - r.r
	}
	r.rawWait = true // take "nothing there" for an answer
	r.rawN, r.rawErr = 0, nil
	err := r.raw.Read(r.rawFunc)
	r.rawWait = false
	if err == nil && r.rawErr != syscall.EAGAIN {
		r.took(r.rawN, r.rawErr)
	}
	return r.w - r.r
}

func (r *Reader) release() {
	if r.buf != nil {
		bufferPool.Put(r.buf)
		r.buf = nil
	}
	r.r, r.w = 0, 0
}

// fill reads more input behind what is buffered. It makes room by moving that
// to the front, so slices of the buffer become invalid.
func (r *Reader) fill() error {
	if r.err != nil {
		return r.err
	}
	if r.r == r.w {
		r.release()
	} else if r.r > 0 && r.w > bufferSize/2 {
		copy(r.buf[:], r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
	}
	if r.w == bufferSize {
		return io.ErrShortBuffer
	}
	r.arm()
	if r.raw == nil {
		r.read()
		return r.err
	}
	r.rawN, r.rawErr = 0, nil
	if err := r.raw.Read(r.rawFunc); err != nil {
		r.err = err
		return err
	}
	r.took(r.rawN, r.rawErr)
	return r.err
}

func (r *Reader) took(n int, err error) {
	switch {
	case err != nil:
		r.err = err
	case n == 0:
		r.err = io.EOF
	}
	if r.err != nil && r.w == r.r {
		r.release()
		return
	}
	r.w += n
	r.request.add(n)
}

// rawRead is called by the runtime until it returns true; in between it waits
// for the socket to become readable. Only while trying does it hold a buffer.
func (r *Reader) rawRead(fd uintptr) bool {
	if r.buf == nil {
		r.buf = bufferPool.Get().(*buffer)
		r.r, r.w = 0, 0
	}
	for {
		r.rawN, r.rawErr = syscall.Read(int(fd), r.buf[r.w:])
		if r.rawErr != syscall.EINTR {
			break
		}
	}
	if r.rawErr == syscall.EAGAIN {
		r.rawN = 0
		if r.r == r.w {
			r.release()
		}
		return r.rawWait
	}
	if r.rawN < 0 {
		r.rawN = 0
	}
	return true
}

// read is fill for connections that are no plain sockets. The first byte of a
// line is awaited in a buffer of its own, so that idle TLS sessions hold no
// other either.
func (r *Reader) read() {
	if r.buf == nil && r.idle {
		n, err := r.conn.Read(r.first[:])
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			r.err = err
			return
		}
		r.buf = bufferPool.Get().(*buffer)
		r.buf[0] = r.first[0]
		r.r, r.w = 0, 1
		return
	}
	if r.buf == nil {
		r.buf = bufferPool.Get().(*buffer)
		r.r, r.w = 0, 0
	}
	n, err := r.conn.Read(r.buf[r.w:])
	r.w += n
	r.request.add(n)
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	r.err = err
}

// arm moves the read deadline, if it was not moved a moment ago.
func (r *Reader) arm() {
	if r.timeout <= 0 {
		return
	}
	now := time.Now()
	if r.request.rate > 0 {
		r.conn.SetDeadline(r.request.deadline(now, r.timeout))
		return
	}
	slack := r.timeout / 10
	if !r.armed.IsZero() && now.Sub(r.armed) < slack {
		return
	}
	r.armed = now
	r.conn.SetDeadline(now.Add(r.timeout + slack))
	if r.stop != nil && r.stop.Load() {
		r.conn.SetReadDeadline(time.Unix(1, 0)) // it was set in between, perhaps
	}
}

// ReadLine returns the next line without its end, LF or CRLF. With
// [ErrLineTooLong] it returns the beginning of the line. A line that the end
// of input cuts off is dropped.
func (r *Reader) ReadLine() ([]byte, error) {
	if r.skip {
		if err := r.skipLine(); err != nil {
			return nil, err
		}
	}
	for from := 0; ; {
		if r.buf != nil {
			in := r.buf[r.r:r.w]
			if i := bytes.IndexByte(in[from:], '\n'); i >= 0 {
				return r.line(from + i)
			}
			if from = len(in); from > r.maxLine+2 {
				r.skip = true
				r.bareLF = false
				line := in[:r.maxLine]
				r.r = r.w
				return line, ErrLineTooLong
			}
		}
		r.idle = true
		err := r.fill()
		r.idle = false
		if err != nil {
			return nil, err
		}
	}
}

// line takes n bytes and a LF from the buffer.
func (r *Reader) line(n int) ([]byte, error) {
	line := r.buf[r.r : r.r+n]
	r.r += n + 1
	r.bareLF = n == 0 || line[n-1] != '\r'
	for len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	if len(line) > r.maxLine {
		return line[:r.maxLine], ErrLineTooLong
	}
	return line, nil
}

func (r *Reader) skipLine() error {
	for {
		if r.buf != nil {
			if i := bytes.IndexByte(r.buf[r.r:r.w], '\n'); i >= 0 {
				r.r += i + 1
				r.skip = false
				return nil
			}
			r.r = r.w
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}
