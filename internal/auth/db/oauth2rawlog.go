package db

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// An oauth2Dialer connects to HTTP servers.
type oauth2Dialer struct {
	net.Dialer
	tls    *tls.Config
	rawlog *rawlog // nil for none
}

func (d *oauth2Dialer) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, addr)
	return d.rawlog.record(conn, err)
}

func (d *oauth2Dialer) secure(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
		conn.Close()
		return nil, err
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return d.rawlog.record(secure, nil)
}

// A rawlog writes what goes over connections into a directory: for each a file
// TIME.PID.NUMBER.in with what the server says and one that ends in .out.
type rawlog struct {
	dir    string
	warn   func(text string)
	number atomic.Uint32
}

// record returns conn with its record. Without one it works as well.
func (l *rawlog) record(conn net.Conn, err error) (net.Conn, error) {
	if l == nil || err != nil {
		return conn, err
	}
	base := filepath.Join(l.dir, fmt.Sprintf("%s.%d.%d", time.Now().Format("20060102-150405"), os.Getpid(), l.number.Add(1)))
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY
	in, err := os.OpenFile(base+".in", flags, 0o600)
	if err != nil {
		l.warn(fmt.Sprintf("oauth2: rawlog_dir: %v", err))
		return conn, nil
	}
	out, err := os.OpenFile(base+".out", flags, 0o600)
	if err != nil {
		in.Close()
		l.warn(fmt.Sprintf("oauth2: rawlog_dir: %v", err))
		return conn, nil
	}
	return &recorded{conn, in, out}, nil
}

// recorded is a connection with its record.
type recorded struct {
	net.Conn
	in, out *os.File
}

func (c *recorded) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Write(b[:n]) //nolint:errcheck // a full disk must not stop logins
	return n, err
}

func (c *recorded) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.Write(b[:n]) //nolint:errcheck // as above
	return n, err
}

func (c *recorded) Close() error {
	c.in.Close()
	c.out.Close()
	return c.Conn.Close()
}
