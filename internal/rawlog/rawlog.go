// Package rawlog writes down what goes over connections, for whoever looks for a mistake in
// a conversation (login_proxy_rawlog_dir, lmtp_rawlog_dir and others).
//
// Each connection has two files in the directory, YYYYMMDD-HHMMSS.PID.NUMBER.in with what was
// read and one that ends in .out with what was written. As in Dovecot's, before each line
// stands when it began, in seconds since 1970 with six digits after the point, and a blank.
// There is nothing to write, and no error, while the directory is not there.
package rawlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// number is that of the last connection.
var number atomic.Uint64

// Record returns conn with its record in the directory: conn itself if the directory is ""
// or not there for this process. An error is for the log; conn works all the same.
func Record(conn net.Conn, dir string) (net.Conn, error) {
	if dir == "" {
		return conn, nil
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return conn, nil
	}
	prefix := fmt.Sprintf("%s/%s.%d.%d", dir, time.Now().Format("20060102-150405"), os.Getpid(), number.Add(1))
	in, err := create(prefix + ".in")
	if err != nil {
		return conn, err
	}
	out, err := create(prefix + ".out")
	if err != nil {
		in.file.Close()
		os.Remove(in.file.Name()) //nolint:errcheck // an empty file does no harm
		return conn, err
	}
	return &recorded{conn, in, out}, nil
}

// End ends the record of a connection, as before TLS on it, and returns the connection. It
// does nothing to one without record.
func End(conn net.Conn) net.Conn {
	c, ok := conn.(*recorded)
	if !ok {
		return conn
	}
	c.in.close()
	c.out.close()
	return c.Conn
}

// Read adds to the record of a connection what was read from it before. It does nothing to one without record.
func Read(conn net.Conn, data []byte) {
	if c, ok := conn.(*recorded); ok {
		c.in.add(data)
	}
}

// recorded is a connection with its record.
type recorded struct {
	net.Conn
	in, out *lines
}

// Read implements [net.Conn].
func (c *recorded) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.add(b[:n])
	return n, err
}

// Write implements [net.Conn].
func (c *recorded) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.add(b[:n])
	return n, err
}

// Close implements [net.Conn].
func (c *recorded) Close() error {
	return End(c).Close()
}

// lines is the record of one direction.
type lines struct {
	mu     sync.Mutex
	file   *os.File // nil when closed
	within bool     // a line
}

func create(path string) (*lines, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creat(%s) failed: %w", path, err)
	}
	return &lines{file: f}, nil
}

// add writes data, with the time before each line that begins in it. A full disk ends the
// record, not the connection.
func (l *lines) add(data []byte) {
	if len(data) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	now := time.Now()
	stamp := fmt.Appendf(nil, "%d.%06d ", now.Unix(), now.Nanosecond()/1000)
	text := make([]byte, 0, len(data)+2*len(stamp))
	for line := range bytes.Lines(data) {
		if !l.within {
			text = append(text, stamp...)
		}
		text = append(text, line...)
		l.within = line[len(line)-1] != '\n'
	}
	if _, err := l.file.Write(text); err != nil {
		l.file.Close()
		l.file = nil
	}
}

func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
