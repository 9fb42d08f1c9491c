package postscreen

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A Passage leads clients to SMTP servers: sessions pass connections into it, and an SMTP server accepts
// them as from a listener.
type Passage struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewPassage returns one with nobody in it.
func NewPassage() *Passage { return &Passage{conns: make(chan net.Conn), closed: make(chan struct{})} }

var _ net.Listener = (*Passage)(nil)

// errNotTaken is for clients that no SMTP server takes.
var errNotTaken = errors.New("no SMTP server takes the connection")

// pass waits until an SMTP server has taken the connection.
func (p *Passage) pass(conn net.Conn, timeout time.Duration) error {
	select {
	case p.conns <- conn:
		return nil
	default:
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case p.conns <- conn:
		return nil
	case <-p.closed:
	case <-t.C:
	}
	return errNotTaken
}

// Accept waits for the next client that passes.
func (p *Passage) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close lets nobody pass any more.
func (p *Passage) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is of no use: each connection has its own.
func (p *Passage) Addr() net.Addr { return &net.UnixAddr{Name: "pass", Net: "unix"} }
