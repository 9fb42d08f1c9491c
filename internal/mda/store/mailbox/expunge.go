package mailbox

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Expunge removes the messages for good, unless somebody keeps them ([Mailbox.SetKeeper]). Uids
// that do not exist are ignored.
func (m *Mailbox) Expunge(ctx context.Context, uids []uint32) error {
	return m.expungeIf(ctx, uids, whatever)
}

// whatever wants all messages.
func whatever(*index.State, int) bool { return true }

// ExpungeDeleted removes those of the messages that are still marked \Deleted: another session may have taken the
// mark away, and was told so.
func (m *Mailbox) ExpungeDeleted(ctx context.Context, uids []uint32) error {
	return m.expungeIf(ctx, uids, func(st *index.State, i int) bool { return st.Flags(i)&byte(Deleted) != 0 })
}

// expungeIf removes the messages that wanted, asked under the lock, says.
func (m *Mailbox) expungeIf(ctx context.Context, uids []uint32, wanted func(st *index.State, i int) bool) error {
	if err := m.need(acl.Expunge); err != nil {
		return err
	}
	uids, kept, err := m.keep(ctx, uids, wanted)
	if err != nil {
		return wrap("keep what is expunged in "+m.b.loc.Name, err)
	}
	defer kept()
	return m.remove(ctx, uids, wanted)
}

// remove is expungeIf of messages that need not be kept.
func (m *Mailbox) remove(ctx context.Context, uids []uint32, wanted func(st *index.State, i int) bool) error {
	b := m.b
	done := m.expunging(uids)
	freeing := m.freeing(ctx, uids)
	guids := b.guids(ctx, m.Snapshot().st, uids) // may read files: not under the lock
	err := b.expunge(ctx, func(st *index.State) []index.Expunged {
		var gone []index.Expunged
		for i, uid := range uids {
			if n, ok := st.Find(uid); ok && wanted(st, n) {
				gone = append(gone, index.Expunged{UID: uid, GUID: guids[i]})
			}
		}
		freeing.chosen(gone)
		return gone
	}, func() error { return nil })
	if err == nil {
		freeing.done()
		done()
	}
	return wrap("expunge in "+b.loc.Name, err)
}

// expunge removes the messages of the newest state that choose returns. finish is
// called, under the lock, after the log says so.
func (b *box) expunge(ctx context.Context, choose func(*index.State) []index.Expunged, finish func() error) error {
	removal, err := b.store.NewRemoval(ctx)
	if err != nil {
		return err
	}
	var gone []index.Expunged
	committed := false
	err = b.lockOnly(ctx, func() error {
		if committed {
			return nil // only what comes after had to be repeated
		}
		if err := b.ix.Load(); err != nil {
			return err
		}
		gone = choose(b.ix.State())
		if err := b.removeFrom(removal, b.ix.State(), gone); err != nil {
			return err
		}
		committed = true
		return finish()
	})
	removal.After(committed)
	if committed && len(gone) > 0 {
		if b.mode.Saves() && err == nil {
			err = b.durable()
		}
		if err == nil {
			removal.Done()
		}
	}
	if err2 := b.afterwards(ctx); err == nil {
		err = err2
	}
	return err
}

// removeFrom has the log say that messages are gone.
func (b *box) removeFrom(removal Removal, st *index.State, gone []index.Expunged) error {
	if len(gone) == 0 {
		return nil
	}
	for n := range gone {
		b.pool.cache.drop(b, gone[n].UID)
		if i, ok := st.Find(gone[n].UID); ok {
			removal.Add(st, i)
		}
	}
	if err := removal.Before(); err != nil {
		return err
	}
	if u, ok := b.store.(Unlinker); ok {
		if err := u.Unlink(st, gone, &b.tx); err != nil {
			return err
		}
	}
	b.tx.Expunge(gone)
	cached := cacheOffsets(st, gone)
	err := b.commit()
	if err == nil && cached > 0 {
		b.values.Dropped(cached)
	}
	return err
}

// guids returns the binary GUIDs of messages, zero where it cannot be read:
// replication then asks for more, nothing else depends on it.
func (b *box) guids(ctx context.Context, st *index.State, uids []uint32) [][16]byte {
	guids := make([][16]byte, len(uids))
	for n, uid := range uids {
		if i, ok := st.Find(uid); ok {
			guids[n] = b.guid(ctx, st, i)
		}
	}
	return guids
}

// guid is the GUID of a message that may be about to go: it repairs nothing.
func (b *box) guid(ctx context.Context, st *index.State, i int) (guid [16]byte) {
	if guid, ok := b.store.GUID(st, i); ok {
		return guid
	}
	f, err := b.store.Open(ctx, st, i)
	if err != nil {
		return guid
	}
	defer f.Close()
	if d, err := f.Details(); err == nil {
		guid = dbox.GUID128(d.GUID)
	}
	return guid
}

// expungeRequested notes that another process has asked in the log for expunges
// without doing them. The log's lock is held, so they are done afterwards.
func (b *box) expungeRequested() {
	if len(b.ix.State().ExpungeRequests()) > 0 {
		b.todo.Store(true)
	}
}

// removeRequested expunges what another process asked for, and moves the log's tail
// over the requests. Nothing is locked.
func (b *box) removeRequested(ctx context.Context) error {
	b.mu.Lock()
	requests := len(b.ix.State().ExpungeRequests()) > 0
	b.mu.Unlock()
	if !requests {
		return nil
	}
	return b.expunge(ctx, func(st *index.State) []index.Expunged {
		var gone []index.Expunged
		for _, uid := range st.ExpungeRequests() {
			if i, ok := st.Find(uid); ok {
				gone = append(gone, index.Expunged{UID: uid, GUID: b.guid(ctx, st, i)})
			}
		}
		return gone
	}, b.ix.AdvanceTail)
}

// Delete expunges all messages, tells other sessions through the log that the
// mailbox is gone, and removes its files and the message directory. Directories
// above it are the caller's.
func (p *Pool) Delete(ctx context.Context, loc Location, set *Settings) error {
	return p.delete(ctx, loc, set, func(st *index.State) []index.Expunged {
		gone := make([]index.Expunged, st.Len())
		for i := range gone {
			gone[i].UID = st.UID(i)
		}
		return gone
	}, func() error { return nil })
}

// delete removes a mailbox with the messages that choose returns. check may prevent it when they
// are gone.
func (p *Pool) delete(ctx context.Context, loc Location, set *Settings, choose func(*index.State) []index.Expunged, check func() error) error {
	m, err := p.Open(ctx, loc, set)
	if err != nil {
		return err
	}
	defer m.Close()
	b := m.b
	err = b.expunge(ctx, choose, func() error {
		if err := check(); err != nil {
			return err
		}
		b.tx.Deleted()
		return b.commit()
	})
	if err == nil || errors.Is(err, index.ErrDeleted) || errors.Is(err, ErrDeleted) { // by a deletion that was cut off
		err = b.removeAll()
	}
	p.mu.Lock()
	p.forget(b)
	p.mu.Unlock()
	return wrap("delete mailbox "+loc.Name, err)
}

func binaryU32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}
