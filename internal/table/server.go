package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A connection is a table's connection to its server, for one request at a time. It is made
// when it is needed.
type connection struct {
	network, address string
	timeout          time.Duration // of each request, and of connecting
	maxIdle, maxAge  time.Duration // then another is made; 0 for never

	mu         sync.Mutex
	conn       net.Conn
	in         *bufio.Reader
	made, used time.Time
}

// do makes a request: fn writes to out and reads the answer from in. Any error ends the
// connection.
func (c *connection) do(ctx context.Context, fn func(in *bufio.Reader, out io.Writer) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.conn != nil && (c.maxIdle > 0 && now.Sub(c.used) > c.maxIdle || c.maxAge > 0 && now.Sub(c.made) > c.maxAge) {
		c.close()
	}
	if c.conn == nil {
		d := net.Dialer{Timeout: c.timeout}
		conn, err := d.DialContext(ctx, c.network, c.address)
		if err != nil {
			return &connectError{err}
		}
		c.conn, c.in, c.made = conn, bufio.NewReader(conn), now
	}
	c.used = now
	c.conn.SetDeadline(now.Add(c.timeout))                                         //nolint:errcheck // the request tells
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // as above
	err := fn(c.in, c.conn)
	if !stop() {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		c.close()
	}
	return err
}

func (c *connection) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// Close implements [Closer].
func (c *connection) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close()
	return nil
}

// connectError is why there is no connection.
type connectError struct{ err error }

func (e *connectError) Error() string { return netReason(e.err) }
func (e *connectError) Unwrap() error { return e.err }

// netReason is the cause of an error of the network in the words of strerror(3).
func netReason(err error) string {
	var no syscall.Errno
	switch {
	case errors.As(err, &no):
		return Reason(no)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "Connection timed out"
	}
	return err.Error()
}

// splitEndpoint splits "inet:host:port" and "unix:path".
func splitEndpoint(endpoint string) (network, address string, err error) {
	kind, address, ok := strings.Cut(endpoint, ":")
	switch {
	case !ok || address == "":
		return "", "", fmt.Errorf("need service transport:endpoint instead of \"%s\"", endpoint)
	case kind == "unix":
		return "unix", address, nil
	case kind == "inet":
		return "tcp", address, nil
	}
	return "", "", fmt.Errorf("invalid transport name: %s in service: %s", kind, endpoint)
}

// readLine reads a line of at most limit bytes, without its end.
func readLine(in *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		piece, err := in.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > limit:
			return "", errTooLong
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return "", err
		default:
			return string(line[:len(line)-1]), nil
		}
	}
}

var errTooLong = errors.New("text is too long")
