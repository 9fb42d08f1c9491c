package main

import (
	"context"
	"sync"
)

// A group is goroutines that work on one thing: the first error ends it.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	work   sync.WaitGroup
}

func newGroup(ctx context.Context) *group {
	g := new(group)
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

func (g *group) run(f func() error) {
	g.work.Go(func() {
		if err := f(); err != nil {
			g.cancel(err)
		}
	})
}

// over is true when the work is to stop.
func (g *group) over() bool { return g.ctx.Err() != nil }

// wait waits for all and returns the first error.
func (g *group) wait() error {
	g.work.Wait()
	defer g.cancel(nil)
	return context.Cause(g.ctx)
}
