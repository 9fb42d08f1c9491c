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
	stop map[uint64]context.CancelFunc
}

// begin returns the context of a session, which ends when it is kicked; over is called
// after the session.
func (r *running) begin(ctx context.Context, id uint64) (_ context.Context, over func()) {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop == nil {
		r.stop = make(map[uint64]context.CancelFunc)
	}
	r.stop[id] = cancel
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.stop, id)
		cancel()
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

// begin is running.begin for a client that was accepted. The master is told when it is
// gone.
func (m *process) begin(login *Login) (context.Context, func()) {
	ctx, over := m.running.begin(m.ctx, login.ID)
	return ctx, func() {
		over()
		m.p.Control.Send(KindEnded, Ended{ID: login.ID}) //nolint:errcheck // without master the process ends, too
	}
}
