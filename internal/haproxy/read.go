package haproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// A ReadError is a header that is none. Text is what came in its place.
type ReadError struct {
	Text []byte
	Err  error // a [Problem], or why nothing could be read
}

func (e *ReadError) Error() string { return fmt.Sprintf("read the header of a proxy: %v", e.Err) }
func (e *ReadError) Unwrap() error { return e.Err }

// Read takes a header from a connection, which must be a socket, and nothing behind it.
// It may come in several pieces, within the timeout; the connection has no deadline
// afterwards.
func Read(conn net.Conn, timeout time.Duration) (Header, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return Header{}, fmt.Errorf("read the header of a proxy: %T is no socket", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return Header{}, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return Header{}, err
	}
	r := reader{conn: conn, raw: raw}
	h, err := r.header()
	if err != nil {
		return h, &ReadError{Text: r.text, Err: err}
	}
	return h, conn.SetReadDeadline(time.Time{})
}

// A reader has the part of the header that was read, and what waits behind it.
type reader struct {
	conn net.Conn
	raw  syscall.RawConn
	text []byte
	buf  [MaxLength]byte
}

func (r *reader) header() (Header, error) {
	for {
		have := len(r.text)
		n, err := r.peek(r.buf[have:])
		if err != nil {
			return Header{}, err
		}
		b := r.buf[:have+n]
		h, length, err := Parse(b)
		if err == nil {
			err := r.take(length)
			h.Raw = string(r.text)
			return h, err
		}
		if more := r.wanted(b, err); more > have {
			// So much belongs to the header for certain: the rest may come later.
			if err := r.take(more); err != nil {
				return Header{}, err
			}
			continue
		}
		r.text = b
		return Header{}, err
	}
}

// wanted is how many bytes of b are the beginning of a header whose rest has not come; 0
// for none.
func (r *reader) wanted(b []byte, err error) int {
	switch {
	case err == NoEnd && len(b) < maxV1:
		return len(b)
	case err == Short && len(b) >= fixedV2:
		return len(b) // the length is known, and there is less
	case err == Short && (startsWith(signature, b) || startsWith(prefixV1, b)):
		return len(b)
	}
	return 0
}

// startsWith tells whether b and the text begin alike, as far as both go.
func startsWith(text string, b []byte) bool {
	n := min(len(text), len(b))
	return text[:n] == string(b[:n])
}

// take takes bytes that were seen off the connection, up to a length in all.
func (r *reader) take(length int) error {
	_, err := io.ReadFull(r.conn, r.buf[len(r.text):length])
	r.text = r.buf[:length]
	return err
}

// peek waits for bytes and leaves them where they are.
func (r *reader) peek(buf []byte) (n int, err error) {
	failed := r.raw.Read(func(fd uintptr) bool {
		n, _, err = syscall.Recvfrom(int(fd), buf, syscall.MSG_PEEK) //nolint:gosec // a descriptor
		return !errors.Is(err, syscall.EAGAIN)
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
