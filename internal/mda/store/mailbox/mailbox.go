package mailbox

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A Mailbox is a handle of an open mailbox. Its methods may be called by
// several goroutines.
type Mailbox struct {
	b      *box
	closed atomic.Bool

	mu      sync.Mutex
	cancels []func()
	claimed uint32 // first uid that was recent when ClaimRecent was called first; 0 before

	viewMu sync.Mutex
	view   sessionView

	notifier  Notifier  // nil for none
	keeper    Keeper    // nil: what is expunged is gone
	without   Flags     // that messages lose which are copied here
	guard     Guard     // nil: everything may be done
	quota     Quota     // nil: there is always room
	saveRight acl.Right // for saving messages
	added     func()    // nil: nobody asks
}

// Close gives the handle back. Saves not yet committed must be aborted before.
func (m *Mailbox) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	m.mu.Lock()
	cancels := m.cancels
	m.cancels = nil
	m.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
	m.closeView()
	m.b.pool.release(m.b, nil)
	return nil
}

// Location returns where the mailbox lies.
func (m *Mailbox) Location() Location {
	return m.b.loc
}

// IndexDir returns the directory of the index files.
func (m *Mailbox) IndexDir() string { return m.b.loc.indexDir() }

// GUID returns the mailbox's GUID.
func (m *Mailbox) GUID() [16]byte {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	guid, _ := m.b.store.Identity(m.b.ix.State())
	return guid
}

// Snapshot returns the latest published state. It never blocks, except for the
// first call of a mailbox, which reads the index; if that fails, the error is
// logged and the snapshot empty.
func (m *Mailbox) Snapshot() *Snapshot {
	if s := m.b.snap.Load(); s != nil {
		return s
	}
	if err := m.b.load(context.Background()); err != nil {
		m.b.pool.log.Errorf("Mailbox %s: %v", m.b.loc.Name, err)
		return &Snapshot{st: index.Empty(), vsize: -1}
	}
	return m.b.snap.Load()
}

// Sync looks for changes by other processes and returns the state after them.
// It costs one system call when there are none.
func (m *Mailbox) Sync(ctx context.Context) (*Snapshot, error) {
	if err := m.b.sync(ctx); err != nil {
		return nil, wrap("sync mailbox "+m.b.loc.Name, err)
	}
	return m.b.snap.Load(), nil
}

// Moved reports whether the mailbox has been renamed by a user of this pool since the handle was opened:
// what has its name now is another mailbox, or nothing.
func (m *Mailbox) Moved() bool { return m.b.moved.Load() }

// Notify has fn called after each newly published snapshot, of own or foreign
// changes. fn must not block and must not call the mailbox, except for Snapshot.
func (m *Mailbox) Notify(fn func()) (cancel func()) {
	cancel = sync.OnceFunc(m.b.subscribe(fn))
	m.mu.Lock()
	m.cancels = append(m.cancels, cancel)
	m.mu.Unlock()
	return cancel
}

// ClaimRecent takes the \Recent flag of all messages for the caller, as a
// read-write SELECT does, and returns the first uid that was recent.
func (m *Mailbox) ClaimRecent(ctx context.Context) (firstRecent uint32, err error) {
	b := m.b
	err = b.lock(ctx, func() error {
		if t, ok := b.store.(RecentTaker); ok {
			if err := t.TakeRecent(b.ix.State(), &b.tx); err != nil {
				return err
			}
		}
		h := &b.ix.State().Hdr
		firstRecent = h.FirstRecent()
		if firstRecent < h.NextUID() {
			b.tx.FirstRecent(h.NextUID())
		}
		return b.commit()
	})
	m.mu.Lock()
	if m.claimed == 0 {
		m.claimed = firstRecent
	}
	m.mu.Unlock()
	return firstRecent, wrap("claim recent messages of "+b.loc.Name, err)
}

// EnableModSeq has the mailbox keep a modseq per message (CONDSTORE). As with
// Dovecot, mailboxes do so only after a client asked for it; until then
// [Snapshot.ModSeq] tells apart what changed while the mailbox was open, and is
// the same for all other messages.
func (m *Mailbox) EnableModSeq(ctx context.Context) error {
	if s := m.Snapshot(); s.st.KeepsModSeq() {
		return nil
	}
	b := m.b
	err := b.lock(ctx, func() error {
		if b.ix.State().KeepsModSeq() {
			return nil
		}
		b.tx.KeepModSeq(b.ix.State().HighestModSeq())
		return b.commit()
	})
	return wrap("keep modseqs of "+b.loc.Name, err)
}
