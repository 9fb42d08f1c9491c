package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrExists says that a message with this ID is in the queue.
var ErrExists = errors.New("a message with this ID is in the mail queue")

// A Past is what became of a message before it came into this queue.
type Past struct {
	Outcomes []Outcome // one for each recipient, or none at all
	Queued   time.Time // when it was queued first; zero means now
	Next     time.Time // not to be tried before; zero for one that was not tried yet
	Warned   bool      // the sender was told of the delay
	Expired  bool      // to be returned to the sender
}

// NewImport begins a message that another mail system had in its queue, under
// the ID that it had there. It returns ErrExists if that is taken. An ID must
// not be given to two calls at once.
func (s *Store) NewImport(id string) (*Writer, error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("%q is no queue ID", id)
	}
	if s.gate.isClosed() {
		return nil, ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index[id] != nil {
		return nil, fmt.Errorf("%s: %w", id, ErrExists)
	}
	serial := s.serial
	s.serial++
	return &Writer{s: s, id: id, serial: serial, created: time.Now()}, nil
}

// CommitPast is [Writer.Commit] for a message with a past: both are in the
// queue, and durable, or neither. The message is not announced: it waits for the
// scheduler to look at the queue.
func (w *Writer) CommitPast(ctx context.Context, env *Envelope, past *Past) error {
	if n := len(past.Outcomes); n > 0 && n != len(env.Recipients) {
		w.Abort()
		return fmt.Errorf("%s: %d outcomes of %d recipients", w.id, n, len(env.Recipients))
	}
	w.past = past
	s := w.s
	if err := w.Commit(ctx, env); err != nil {
		return err
	}
	s.tail.mu.Lock()
	lost := len(s.tail.lost) > 0
	s.tail.mu.Unlock()
	if lost {
		s.Delete(w.id) //nolint:errcheck // it is there: nobody else knows it
		return fmt.Errorf("%s: %w: delivery status is in memory only", w.id, ErrNoSpace)
	}
	return nil
}

// begin gives the entry of a new message its past. The record about it goes to
// the log before the message: a reader who finds the message has seen it, and
// the commit that makes the message durable covers both.
func (e *entry) begin(s *Store, p *Past, h *head) {
	if !p.Queued.IsZero() {
		h.queued = p.Queued
		e.queued = p.Queued.UnixMicro()
	}
	if p.Warned {
		e.flags |= entryWarned
	}
	if p.Expired {
		e.flags |= entryExpired
	}
	if !p.Next.IsZero() {
		e.flags |= entryDeferred
		e.next = p.Next.Unix()
	}
	m := Message{Outcomes: p.Outcomes}
	which := m.told()
	if len(which) == 0 && e.stateFlags() == 0 {
		return
	}
	s.record(outcome{e: e, kind: kindState, head: appendState(nil, stateFull, p.Outcomes, which)})
}

// Sync makes all that was recorded so far durable, also what [Store.Delete] did.
func (s *Store) Sync() error {
	if s.gate.isClosed() {
		return ErrClosed
	}
	if err := s.flushOutcomes(); err != nil {
		return err
	}
	return s.settled()
}
