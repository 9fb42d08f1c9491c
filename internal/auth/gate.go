package auth

import (
	"container/list"
	"context"
	"net/netip"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
)

// A gate lets at most max pass at a time. Those who wait stand in one line for each
// network of clients, and the lines take turns: whoever fills his with a thousand guesses
// delays himself, not others. Each database has a gate of its own, so one that does not
// answer keeps nobody from the others.
type gate struct {
	max int

	mu     sync.Mutex
	inside int
	lines  map[netip.Prefix]*list.Element // of turns
	turns  list.List                      // of *line, the next in front
}

// A line is those of one network who wait, the first in front. It has at least one.
type line struct {
	net     netip.Prefix
	waiting []*waiter
}

type waiter struct {
	ready chan struct{} // closed when it is inside
	gone  bool          // does not want to any more
}

func newGate(max int) *gate { return &gate{max: max, lines: make(map[netip.Prefix]*list.Element)} }

// enter waits for a place. Unless it returns an error, leave must follow.
func (g *gate) enter(ctx context.Context, net netip.Prefix) error {
	g.mu.Lock()
	if g.inside < g.max {
		g.inside++
		g.mu.Unlock()
		return nil
	}
	w := &waiter{ready: make(chan struct{})}
	g.stand(net, w)
	g.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.ready: // at the same moment
		g.next()
	default:
		w.gone = true
	}
	return ctx.Err()
}

func (g *gate) stand(net netip.Prefix, w *waiter) {
	e := g.lines[net]
	if e == nil {
		e = g.turns.PushBack(&line{net: net})
		g.lines[net] = e
	}
	l := e.Value.(*line)
	l.waiting = append(l.waiting, w)
}

// leave gives the place to the next.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next()
}

func (g *gate) next() {
	for e := g.turns.Front(); e != nil; e = g.turns.Front() {
		l := e.Value.(*line)
		w := l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		if len(l.waiting) == 0 {
			g.turns.Remove(e)
			delete(g.lines, l.net)
		} else if !w.gone { // who is gone has cost his line no turn
			g.turns.MoveToBack(e)
		}
		if !w.gone {
			close(w.ready)
			return
		}
	}
	g.inside--
}

// through runs work inside the gate, on behalf of a request.
func (g *gate) through(ctx context.Context, r *db.Request, work func() error) error {
	if err := g.enter(ctx, penaltyNet(r.Remote.Addr())); err != nil {
		return err
	}
	defer g.leave()
	return work()
}
