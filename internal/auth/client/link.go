package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

const (
	// handshakeTimeout bounds connecting and the server's first lines.
	handshakeTimeout = 30 * time.Second

	// replyTimeout is when a server that says nothing is given up: longer than
	// the 150 seconds after which it drops a request itself.
	replyTimeout = 170 * time.Second

	// maxCalls bounds the requests under way on one connection.
	maxCalls = 4096

	// minRetryDelay and maxRetryDelay bound the pause after a failed connection.
	minRetryDelay = 100 * time.Millisecond
	maxRetryDelay = 5 * time.Second
)

// A handshake reads the lines that the server sends first.
type handshake interface {
	line(verb, rest string) (done bool, err error)
}

// A link is the one connection to a server, made when it is needed.
type link struct {
	network, addr string
	hello         []byte
	newHandshake  func() handshake
	log           *maillog.Logger

	mu      sync.Mutex
	conn    *conn
	last    handshake     // of the latest connection, kept when that is lost
	dialing chan struct{} // closed when the attempt under way ends
	lastErr error         // of the latest attempt
	retryAt time.Time     // no attempt before
	delay   time.Duration
	closed  bool
}

func newLink(network, addr string, hello []byte, newHandshake func() handshake, log *maillog.Logger) *link {
	return &link{network: network, addr: addr, hello: hello, newHandshake: newHandshake, log: log}
}

func (l *link) lastHandshake() handshake {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// connect returns the connection, making it if there is none. While a server
// is away, attempts are spaced, and callers in between get the last error at
// once instead of adding to its load.
func (l *link) connect(ctx context.Context) (*conn, error) {
	for {
		l.mu.Lock()
		switch {
		case l.closed:
			l.mu.Unlock()
			return nil, ErrClosed
		case l.conn != nil:
			c := l.conn
			l.mu.Unlock()
			return c, nil
		case l.dialing == nil && l.lastErr != nil && time.Now().Before(l.retryAt):
			err := l.lastErr
			l.mu.Unlock()
			return nil, err
		case l.dialing == nil:
			done := make(chan struct{})
			l.dialing = done
			l.mu.Unlock()
			return l.attempt(ctx, done)
		}
		wait := l.dialing
		l.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// attempt connects once, for all who wait.
func (l *link) attempt(ctx context.Context, done chan struct{}) (*conn, error) {
	c, err := l.dial(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(done)
	l.dialing = nil
	if err == nil && l.closed {
		c.fail(ErrClosed)
		err = ErrClosed
	}
	if err != nil {
		// The caller's own haste says nothing about the server.
		if ctx.Err() == nil {
			l.delay = min(max(2*l.delay, minRetryDelay), maxRetryDelay)
			l.retryAt = time.Now().Add(l.delay)
			l.lastErr = err
		}
		return nil, err
	}
	l.conn, l.last = c, c.handshake
	l.lastErr, l.delay = nil, 0
	go c.read()
	return c, nil
}

// lost forgets a connection that failed.
func (l *link) lost(c *conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == c {
		l.conn = nil
	}
	if !l.closed && !errors.Is(err, net.ErrClosed) {
		l.log.Warningf("auth server %s: connection lost: %v", l.addr, err)
	}
}

func (l *link) close() error {
	l.mu.Lock()
	c := l.conn
	l.conn, l.closed = nil, true
	l.mu.Unlock()
	if c != nil {
		c.fail(ErrClosed)
	}
	return nil
}

// dial connects and does the handshake.
func (l *link) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, l.network, l.addr)
	if err != nil {
		return nil, fmt.Errorf("auth server: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &conn{link: l, net: nc, r: wire.NewReader(nc), w: wire.NewWriter(nc), calls: make(map[uint32]*call)}
	if err := c.greet(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("auth server %s: handshake: %w", l.addr, err)
	}
	if !stop() {
		nc.Close()
		return nil, fmt.Errorf("auth server %s: handshake: %w", l.addr, ctx.Err())
	}
	return c, nil
}

// maxHandshake bounds the lines of a handshake.
const maxHandshake = 1000

func (c *conn) greet() error {
	if _, err := c.net.Write(c.link.hello); err != nil {
		return err
	}
	c.handshake = c.link.newHandshake()
	for range maxHandshake {
		line, err := c.r.Next()
		if err != nil {
			return err
		}
		verb, rest, _ := wire.CutString(string(line))
		done, err := c.handshake.line(verb, rest)
		if done || err != nil {
			return err
		}
	}
	return errors.New("it does not end")
}

func checkVersion(rest string, major uint32) error {
	v, _, _ := wire.CutString(rest)
	if n, ok := wire.ParseID([]byte(v)); !ok || n != major {
		return fmt.Errorf("the server speaks protocol version %q, not %d", v, major)
	}
	return nil
}
