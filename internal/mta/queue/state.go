package queue

import (
	"fmt"
	"time"
)

// Activate says that m is being delivered from now on. It returns false if m
// is on hold or gone.
func (s *Store) Activate(m *Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.e.flags&(entryHold|entryDead) != 0 {
		return false
	}
	m.e.flags |= entryActive
	return true
}

// Yield ends what Activate began, without an attempt: m goes to the function of
// [Store.OnArrival] as if it were fresh.
func (s *Store) Yield(m *Message) {
	s.mu.Lock()
	m.e.flags &^= entryActive
	gone := m.e.flags&(entryHold|entryDead) != 0
	s.mu.Unlock()
	if !gone {
		s.announce(m)
	}
}

// Record appends the outcomes of some recipients of m to the log. They survive
// the death of this process; see the package comment for the system's.
func (s *Store) Record(m *Message, recipients ...int) {
	s.recordState(m, 0, recipients)
}

// Defer ends the delivery of m for now: the outcomes are recorded, and it is
// to be tried again at next.
func (s *Store) Defer(m *Message, next time.Time) {
	m.Next = next
	s.mu.Lock()
	e := m.e
	e.next = next.Unix()
	e.flags |= entryDeferred
	e.flags &^= entryActive
	s.cache.drop(e)
	s.mu.Unlock()
	s.recordState(m, stateFull, m.told())
}

// told lists the recipients of which something is known.
func (m *Message) told() []int {
	which := make([]int, 0, len(m.Outcomes))
	for i := range m.Outcomes {
		if m.Outcomes[i] != (Outcome{}) {
			which = append(which, i)
		}
	}
	return which
}

func (s *Store) recordState(m *Message, full byte, which []int) {
	e := m.e
	s.mu.Lock()
	if e.flags&entryDead != 0 {
		s.mu.Unlock()
		return
	}
	if m.Warned {
		e.flags |= entryWarned
	}
	if m.Traced {
		e.flags |= entryTraced
	}
	s.mu.Unlock()
	s.record(outcome{e: e, kind: kindState, head: appendState(nil, full, m.Outcomes, which)})
}

// stateFlags returns the flags of a state record about e.
func (e *entry) stateFlags() byte {
	var flags byte
	for _, f := range stateBits {
		if e.flags&f.entry != 0 {
			flags |= f.state
		}
	}
	return flags
}

// setStateFlags is the reverse of stateFlags.
func (e *entry) setStateFlags(flags byte) {
	for _, f := range stateBits {
		e.flags &^= f.entry
		if flags&f.state != 0 {
			e.flags |= f.entry
		}
	}
}

var stateBits = [...]struct {
	entry entryFlags
	state byte
}{
	{entryHold, stateHold},
	{entryWarned, stateWarned},
	{entryExpired, stateExpired},
	{entryDeferred, stateDefer},
	{entryTraced, stateTraced},
}

// Remove ends the life of m.
func (s *Store) Remove(m *Message) { s.remove(m.e) }

func (s *Store) remove(e *entry) {
	s.mu.Lock()
	if e.flags&entryDead != 0 {
		s.mu.Unlock()
		return
	}
	e.flags |= entryDead
	delete(s.index, e.id)
	s.cache.drop(e)
	s.mu.Unlock()

	s.record(outcome{e: e, kind: kindRemoved})
	if e.flags&entryLarge != 0 {
		// If it stays, the next start removes it.
		s.disk.remove(fileName(e.serial, ".msg")) //nolint:errcheck
	}
	s.mu.Lock()
	e.at.drop()
	e.state.drop()
	for _, p := range e.partial {
		p.drop()
	}
	last := e.at.seg.sealed && e.at.seg.count == 0
	s.mu.Unlock()
	if last {
		s.keep.wake()
	}
}

// Delete removes a message that is not being delivered.
func (s *Store) Delete(id string) error {
	e, err := s.find(id)
	if err != nil {
		return err
	}
	s.remove(e)
	return nil
}

func (s *Store) find(id string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.index[id]
	if e == nil {
		return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return e, nil
}

// Hold puts a message on hold. One that is being delivered is held when its
// deliveries end.
func (s *Store) Hold(id string) error {
	return s.mark(id, func(e *entry) { e.flags |= entryHold })
}

// Release ends Hold. The message is due at once.
func (s *Store) Release(id string) error {
	return s.mark(id, func(e *entry) {
		e.flags &^= entryHold
		e.next = 0
	})
}

// Expire marks a message to be returned to its sender instead of being tried
// again.
func (s *Store) Expire(id string) error {
	return s.mark(id, func(e *entry) { e.flags |= entryExpired })
}

// mark changes flags and records them.
func (s *Store) mark(id string, change func(*entry)) error {
	e, err := s.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	change(e)
	s.mu.Unlock()
	s.record(outcome{e: e, kind: kindState, head: appendState(nil, 0, nil, nil)})
	return nil
}
