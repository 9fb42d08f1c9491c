package queue

import (
	"sync"
	"time"
)

// The gate is where commits wait for the committer. As a sync costs the same for
// one message as for many, the committer in its turn waits at the gate for
// company: for as many as there were in the last batch and behind it, because
// clients that send one message after the other will be back. It waits no longer
// than the last batch took, so that no answer takes much longer for it, and not
// at all for clients that come one at a time.
type gate struct {
	mu     sync.Mutex
	more   sync.Cond
	list   []*commit
	closed bool
	done   chan struct{}

	taken    int           // size of the last batch
	expected int           // of the next one
	patience time.Duration // how long to wait for it; 0: not at all
	late     bool          // that time is over
}

// The committer's patience has bounds: no disk is so slow that a client should
// notice, and where a sync costs little there is little to be saved.
const (
	minPatience = 200 * time.Microsecond
	maxPatience = time.Millisecond
)

func (g *gate) init() {
	g.more.L = &g.mu
	g.done = make(chan struct{})
}

func (g *gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	g.more.Signal()
	return true
}

func (g *gate) put(c *commit) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.list = append(g.list, c)
	if n := len(g.list); n == 1 || n == g.expected {
		g.more.Signal()
	}
	return nil
}

// take returns what has gathered, in the place of spare, or nothing if the
// gate is closed and empty.
func (g *gate) take(spare []*commit) []*commit {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.list) == 0 && !g.closed {
		g.more.Wait()
	}
	g.awaitCompany()
	list := g.list
	g.taken = len(list)
	g.list = spare[:0]
	return list
}

func (g *gate) awaitCompany() {
	if g.closed || g.patience == 0 || len(g.list) >= g.expected {
		return
	}
	g.late = false
	timer := time.AfterFunc(g.patience, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.late = true // one that fires too late cuts another wait short: no harm
		g.more.Signal()
	})
	defer timer.Stop()
	for !g.closed && !g.late && len(g.list) < g.expected {
		g.more.Wait()
	}
}

// took says that the last batch is finished and how long it took.
func (g *gate) took(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expected = g.taken + len(g.list)
	if g.patience = min(d, maxPatience); d < minPatience {
		g.patience = 0
	}
}
