package mail

import (
	"context"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/master"
)

// Kinds of control messages about sessions that have begun.
const (
	KindEnded = "ended" // a session is over: mail → master
	KindKick  = "kick"  // sessions are to end: master → mail
)

// Ended names a session by the ID of its [Login].
type Ended struct {
	ID uint64 `json:"id"`
}

// Kick names sessions.
type Kick struct {
	IDs []uint64 `json:"ids"`
}

// running are the sessions that can be told to end.
type running struct {
	mu   sync.Mutex
	stop map[uint64]func()
	over bool // all have been told
}

// begin returns the context of a session, which ends when it is kicked.
func (r *running) begin(ctx context.Context, id uint64) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop == nil {
		r.stop = make(map[uint64]func())
	}
	r.stop[id] = cancel
	return ctx
}

// replace has a session be told by stop from now on, and returns what told it before. over says that all sessions have been
// told already.
func (r *running) replace(id uint64, stop func()) (old func(), over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old = r.stop[id]
	r.stop[id] = stop
	return old, r.over
}

// end forgets a session, and has its context end.
func (r *running) end(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop[id]()
	delete(r.stop, id)
}

// stopAll has all sessions end.
func (r *running) stopAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for _, stop := range r.stop {
		stop()
	}
}

// kick has sessions end as when the server stops.
func (r *running) kick(msg *master.Message) {
	var k Kick
	if msg.Decode(&k) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range k.IDs {
		if stop := r.stop[id]; stop != nil {
			stop()
		}
	}
}
