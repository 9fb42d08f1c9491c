package mailbox

import (
	"context"
	"errors"
)

// A Notifier hears what a session does to messages, as Dovecot's plugin notify has other
// plugins hear it. Without one nothing is done for it.
type Notifier interface {
	// Saved is called after messages were saved.
	Saved(m *Mailbox, uids []uint32)
	// Copied is called after messages were copied: uids are those of the copies.
	Copied(src, dst *Mailbox, uids []uint32)
	// Expunging looks at messages that are about to be expunged, and returns what is called
	// when they are gone.
	Expunging(m *Mailbox, uids []uint32) (done func())
	// Changing looks at messages whose flags are about to change, and returns what is called
	// afterwards with those that were refused.
	Changing(m *Mailbox, c *FlagChange) (done func(refused []uint32))
}

// SetNotifier has n hear of what is done through this handle. It is called before anything is.
func (m *Mailbox) SetNotifier(n Notifier) { m.notifier = n }

// SetAdded has fn called after messages were saved or copied through this handle. It is called
// before anything is.
func (m *Mailbox) SetAdded(fn func()) { m.added = fn }

func (m *Mailbox) tellAdded() {
	if m.added != nil {
		m.added()
	}
}

// saved tells the notifier of the handle through which messages were saved.
func saved(saves []*Save, results []SaveResult) {
	m := saves[0].m
	if m == nil {
		return
	}
	m.tellAdded()
	if m.notifier == nil {
		return
	}
	uids := make([]uint32, len(results))
	for i := range results {
		uids[i] = results[i].UID
	}
	m.notifier.Saved(m, uids)
}

// expunging asks the notifier to look at messages. done is never nil.
func (m *Mailbox) expunging(uids []uint32) (done func()) {
	if m.notifier == nil {
		return func() {}
	}
	return m.notifier.Expunging(m, uids)
}

// changing asks the notifier to look at messages. done is never nil.
func (m *Mailbox) changing(c *FlagChange) (done func(refused []uint32)) {
	if m.notifier == nil {
		return func([]uint32) {}
	}
	return m.notifier.Changing(m, c)
}

// DeleteNotified is [Pool.Delete] of a mailbox whose messages somebody wants to hear of.
func (p *Pool) DeleteNotified(ctx context.Context, loc Location, set *Settings, n Notifier) error {
	done := func() {}
	if m, err := p.Open(ctx, loc, set); err == nil {
		if s, err := m.Sync(ctx); err == nil {
			uids := make([]uint32, s.Len())
			for i := range uids {
				uids[i] = s.UID(i)
			}
			done = n.Expunging(m, uids)
		}
		m.Close() //nolint:errcheck // nothing was written
	}
	err := p.Delete(ctx, loc, set)
	if err == nil {
		done()
	}
	return err
}

// Recent reports whether the message with the uid is recent to the session that has this
// handle: it has claimed it, or nobody has.
func (m *Mailbox) Recent(uid uint32) bool {
	m.mu.Lock()
	first := m.claimed
	m.mu.Unlock()
	if first == 0 {
		first = m.Snapshot().FirstRecent()
	}
	return uid >= first
}

// errNotCached is why a message of [Message.OnlyCached] is not opened.
var errNotCached = errors.New("not cached")

// OnlyCached has the methods of the message fail that would have to open it.
func (msg *Message) OnlyCached() { msg.onlyCached = true }
