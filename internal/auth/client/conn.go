package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// A reply is one line of the server about a call.
type reply struct {
	verb string
	rest string // after the id
	err  error
}

// A call is a request under way.
type call struct {
	id      uint32
	replies chan reply
	item    func(rest string)
}

// wait returns the next reply.
func (c *call) wait(ctx context.Context) (reply, error) {
	if ctx.Done() == nil {
		r := <-c.replies
		return r, r.err
	}
	select {
	case r := <-c.replies:
		return r, r.err
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

// A conn is one connection after its handshake.
type conn struct {
	link      *link
	net       net.Conn
	r         *wire.Reader
	w         *wire.Writer
	handshake handshake

	mu     sync.Mutex
	calls  map[uint32]*call
	lastID uint32
	err    error // set when the connection is of no more use
}

var errBusy = fmt.Errorf("auth server: more than %d requests under way", maxCalls)

// start sends a request and returns its call.
func (c *conn) start(appendLine func(b []byte, id uint32) []byte) (*call, error) {
	return c.startList(appendLine, nil)
}

// startList is start for a request with many replies: each LIST line but the
// last goes to item, in the goroutine that reads the connection.
func (c *conn) startList(appendLine func(b []byte, id uint32) []byte, item func(string)) (*call, error) {
	call := callPool.Get().(*call)
	call.item = item
	if err := c.register(call); err != nil {
		callPool.Put(call)
		return nil, err
	}
	if err := c.write(func(b []byte) []byte { return appendLine(b, call.id) }); err != nil {
		c.end(call)
		return nil, err
	}
	return call, nil
}

func (c *conn) register(call *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if len(c.calls) >= maxCalls {
		return errBusy
	}
	if len(c.calls) == 0 {
		c.net.SetReadDeadline(time.Now().Add(replyTimeout)) //nolint:errcheck // a closed connection shows in the read
	}
	for { // ids wrap around after 4 billion; one may still be in use
		c.lastID++
		if _, used := c.calls[c.lastID]; !used && c.lastID != 0 {
			break
		}
	}
	call.id = c.lastID
	c.calls[call.id] = call
	return nil
}

// write sends one line.
func (c *conn) write(appendLine func(b []byte) []byte) error {
	err := c.w.Append(appendLine)
	if err != nil {
		c.fail(err)
	}
	return err
}

// end forgets a call. Replies are delivered under the lock, so once the call is
// out of the map and its channel is empty it can be used again.
func (c *conn) end(call *call) {
	c.mu.Lock()
	delete(c.calls, call.id)
	if len(c.calls) == 0 {
		c.net.SetReadDeadline(time.Time{}) //nolint:errcheck // as in register
	}
	c.mu.Unlock()
	select {
	case <-call.replies:
	default:
	}
	call.item = nil
	callPool.Put(call)
}

// callPool keeps the calls of requests that are over.
var callPool = sync.Pool{New: func() any { return &call{replies: make(chan reply, 1)} }}

// read delivers what the server says until the connection is lost.
func (c *conn) read() {
	for {
		line, err := c.r.Next()
		if err == nil {
			err = c.deliver(string(line))
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// deliver hands one line to its call. A line about a request that was given up
// is nobody's.
func (c *conn) deliver(line string) error {
	verb, rest, _ := wire.CutString(line)
	idText, rest, _ := wire.CutString(rest)
	id, ok := wire.ParseID([]byte(idText))
	if !ok {
		return nil // lines without id, of newer servers, are ignored
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[id]
	if call == nil {
		return nil
	}
	c.net.SetReadDeadline(time.Now().Add(replyTimeout)) //nolint:errcheck // a closed connection shows in the read
	if verb == "LIST" {
		if call.item != nil {
			call.item(rest)
		}
		return nil
	}
	select {
	case call.replies <- reply{verb: verb, rest: rest}:
		return nil
	default:
		return errors.New("protocol error: two replies to one request")
	}
}

// fail ends the connection and every call on it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = fmt.Errorf("auth server %s: %w", c.link.addr, err)
	for _, call := range c.calls {
		select {
		case call.replies <- reply{err: c.err}:
		default: // it has its last reply already
		}
	}
	c.mu.Unlock()
	c.net.Close()
	c.link.lost(c, err)
}
