package imap

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// As Dovecot does: CLIENT_IDLE_TIMEOUT and CLIENT_OUTPUT_TIMEOUT.
const (
	inactivityTimeout = 30 * time.Minute
	outputTimeout     = 5 * time.Minute
)

const outSize = 16 << 10 // output is written when this much has gathered

var outPool = sync.Pool{New: func() any { b := make([]byte, 0, outSize+1024); return &b }}

// conn is the client's connection: input that waits without a buffer, output
// that gathers in a pooled one.
type conn struct {
	net.Conn
	raw     syscall.RawConn // nil where the connection has none
	ready   func(fd uintptr) bool
	fd      int // inside ready, else -1
	one     [1]byte
	pending int // bytes in one
	readErr error

	deadline time.Time   // of reading
	woken    atomic.Bool // set by wake
	stopping atomic.Bool // the server stops: no more input
	ended    error       // why the connection is of no more use; sticky

	deflated *deflated // nil without COMPRESS

	outBuf  *[]byte // nil while nothing is to be written
	in, out int64   // bytes, for the log
	blocked time.Duration
}

// errWoken ends a wait because of wake.
var errWoken = errors.New("woken")

// errStopping ends reading because the server stops.
var errStopping = errors.New("server shutting down")

// errInactive ends a wait because the deadline passed.
var errInactive = errors.New("inactive")

// init makes c a connection whose input fill reads into a buffer that release
// gives back.
func (c *conn) init(nc net.Conn, fill func() error, release func()) {
	c.Conn = nc
	c.fd = -1
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	c.ready = func(fd uintptr) bool {
		c.fd = int(fd)
		c.readErr = fill()
		c.fd = -1
		if errors.Is(c.readErr, syscall.EAGAIN) {
			release()
			return false
		}
		return true
	}
}

// wait waits until there is input, which fill has read then, or until the
// deadline, or until wake is called.
func (c *conn) wait(deadline time.Time) error {
	c.setDeadline(deadline)
	if c.woken.Load() {
		return errWoken
	}
	var err error
	if c.raw != nil {
		if err = c.raw.Read(c.ready); err == nil {
			err = c.readErr
		}
	} else {
		var n int
		n, err = c.Conn.Read(c.one[:])
		c.pending = n
		if n > 0 {
			err = nil
		}
		if n > 0 && c.deflated != nil {
			c.deflated.raw = append(c.deflated.raw, c.one[0])
			c.pending = 0
			err = c.peekDeflated()
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return c.end(err)
	}
	if c.woken.Load() {
		return errWoken
	}
	if time.Now().Before(deadline) {
		return nil // moved by a wake that has been dealt with already
	}
	return errInactive
}

func (c *conn) setDeadline(t time.Time) {
	c.deadline = t
	c.Conn.SetReadDeadline(t)
}

// wake makes wait return errWoken, now or when it is called next. It may be
// called by any goroutine.
func (c *conn) wake() {
	if c.woken.CompareAndSwap(false, true) {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// Read reads for the decoder. Output is written first, as the client may wait for it.
func (c *conn) Read(p []byte) (n int, err error) {
	switch {
	case c.ended != nil:
		return 0, c.ended
	case c.pending > 0:
		c.pending = 0
		p[0] = c.one[0]
		n = 1
	case c.deflated != nil:
		n, err = c.deflated.read(c, p)
	default:
		n, err = c.readWire(p)
	}
	c.in += int64(n)
	return n, err
}

// readWire reads from the connection.
func (c *conn) readWire(p []byte) (int, error) {
	if c.fd >= 0 {
		return c.readReady(p)
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	start := time.Now()
	c.setDeadline(start.Add(inactivityTimeout))
	if c.stopping.Load() {
		return 0, errStopping
	}
	for {
		n, err := c.Conn.Read(p)
		now := time.Now()
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && now.Before(c.deadline) {
			if c.stopping.Load() {
				return 0, errStopping
			}
			c.Conn.SetReadDeadline(c.deadline) // a wake; dealt with after the command
			continue
		}
		c.blocked += now.Sub(start)
		if n > 0 {
			return n, nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errInactive // the client can still be told
		}
		return 0, c.end(err)
	}
}

// readReady reads inside ready.
func (c *conn) readReady(p []byte) (int, error) {
	for {
		n, err := syscall.Read(c.fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// end remembers why the connection is of no more use.
func (c *conn) end(err error) error {
	if err != nil && c.ended == nil {
		c.ended = err
	}
	return err
}

// buf returns the output buffer, to append to; it is given back with put.
func (c *conn) buf() []byte {
	if c.outBuf == nil {
		c.outBuf = outPool.Get().(*[]byte)
	}
	return *c.outBuf
}

// put takes the output buffer back and writes it if it is full.
func (c *conn) put(b []byte) error {
	*c.outBuf = b
	if len(b) >= outSize {
		return c.flush()
	}
	return c.ended
}

// write appends text to the output.
func (c *conn) write(text string) error { return c.put(append(c.buf(), text...)) }

// flush writes the output and gives the buffer back.
func (c *conn) flush() error {
	if c.outBuf == nil {
		return c.ended
	}
	b := *c.outBuf
	if len(b) > 0 && c.ended == nil {
		if c.deflated != nil {
			c.end(c.deflated.compressed(b, c.writeWire))
		} else {
			c.end(c.writeWire(b))
		}
		c.out += int64(len(b))
	}
	*c.outBuf = b[:0]
	if cap(b) <= 4*outSize {
		outPool.Put(c.outBuf)
	}
	c.outBuf = nil
	return c.ended
}

// writeWire writes to the connection.
func (c *conn) writeWire(b []byte) error {
	c.Conn.SetWriteDeadline(time.Now().Add(outputTimeout))
	_, err := c.Conn.Write(b)
	return err
}

// stopOnCancel has the end of ctx end waiting and reading.
func (c *conn) stopOnCancel(ctx context.Context) (cancel func() bool) {
	return context.AfterFunc(ctx, func() {
		c.stopping.Store(true)
		c.wake()
	})
}
