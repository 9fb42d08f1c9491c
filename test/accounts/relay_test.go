package accounts

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// How a relay treats connections.
type treatment int

const (
	passes treatment = iota
	hangs            // takes connections and bytes, and passes none on
	resets           // closes connections without a word, old ones at once
	slows            // passes on what the server says after a while
)

// A relay stands before a database server, which it can make seem dead or slow.
type relay struct {
	net.Listener
	to string

	mu      sync.Mutex
	now     treatment
	changed chan struct{} // closed when now is another one
	taken   int           // connections
}

const slowness = 300 * time.Millisecond

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &relay{Listener: l, to: to, changed: make(chan struct{})}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn.(*net.TCPConn))
		}
	}()
	return r
}

func (r *relay) port() int { return r.Addr().(*net.TCPAddr).Port }

// become changes the treatment of all connections, those that are there as well.
func (r *relay) become(now treatment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = now
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *relay) treatment() (treatment, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now, r.changed
}

// connections returns how many were taken.
func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

func (r *relay) serve(client *net.TCPConn) {
	defer client.Close()
	r.mu.Lock()
	r.taken++
	r.mu.Unlock()
	for now, changed := r.treatment(); now == hangs; now, changed = r.treatment() {
		<-changed
	}
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	end := make(chan struct{}, 2)
	for _, way := range [...]struct{ from, to net.Conn }{{client, server}, {server, client}} {
		go func() {
			r.copy(way.to, way.from, way.to == net.Conn(client))
			end <- struct{}{}
		}()
	}
	for {
		now, changed := r.treatment()
		if now == resets {
			client.SetLinger(0) //nolint:errcheck // it is closed either way
			return
		}
		select {
		case <-end:
			return
		case <-changed:
		}
	}
}

// copy passes bytes on as the treatment has it.
func (r *relay) copy(to io.Writer, from io.Reader, isAnswer bool) {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		now, changed := r.treatment()
		for now == hangs { // what it has swallowed is lost, too
			<-changed
			if now, changed = r.treatment(); now != hangs {
				return
			}
		}
		if now == slows && isAnswer {
			time.Sleep(slowness)
		}
		if _, writeErr := to.Write(b[:n]); writeErr != nil || err != nil {
			return
		}
	}
}
