package mailbox

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A Keeper keeps elsewhere what a session expunges, as Dovecot's plugin lazy_expunge does.
type Keeper interface {
	// Keep copies messages that are about to be expunged. It returns which may go now: of the others
	// there is no durable copy. done is called when they are gone.
	Keep(ctx context.Context, m *Mailbox, uids []uint32) (gone []uint32, done func(), err error)
	// KeepsMoved reports whether that is also wanted of messages that are moved.
	KeepsMoved() bool
}

// SetKeeper has k keep what is expunged through this handle. It is called before anything is.
func (m *Mailbox) SetKeeper(k Keeper) { m.keeper = k }

// CopyToKeep is [Mailbox.Copy] of messages that are about to be expunged. The copies are not marked
// \Deleted.
func (m *Mailbox) CopyToKeep(ctx context.Context, uids []uint32, dst *Mailbox) (CopyResult, error) {
	dst.without = Deleted
	return m.transfer(ctx, uids, dst, m.quota)
}

// keep has the keeper look at those of the messages that wanted says.
func (m *Mailbox) keep(ctx context.Context, uids []uint32, wanted func(st *index.State, i int) bool) (gone []uint32, done func(), err error) {
	if m.keeper == nil {
		return uids, func() {}, nil
	}
	st := m.Snapshot().st
	for _, uid := range uids {
		if i, ok := st.Find(uid); ok && wanted(st, i) {
			gone = append(gone, uid)
		}
	}
	return m.keeper.Keep(ctx, m, gone)
}

// DeleteEmpty is [Pool.Delete] of a mailbox whose messages are gone already. It returns
// ErrNotEmpty if there are new ones.
func (p *Pool) DeleteEmpty(ctx context.Context, loc Location, set *Settings) error {
	empty := true
	return p.delete(ctx, loc, set, func(st *index.State) []index.Expunged {
		empty = st.Len() == 0
		return nil
	}, func() error {
		if !empty {
			return ErrNotEmpty
		}
		return nil
	})
}

// Alone waits for the others who hold the key in this process to release it, and holds it.
func (p *Pool) Alone(key string) (release func()) {
	for {
		p.aloneMu.Lock()
		held, busy := p.alone[key]
		if !busy {
			if p.alone == nil {
				p.alone = make(map[string]chan struct{})
			}
			held = make(chan struct{})
			p.alone[key] = held
		}
		p.aloneMu.Unlock()
		if !busy {
			return func() {
				p.aloneMu.Lock()
				defer p.aloneMu.Unlock()
				delete(p.alone, key)
				close(held)
			}
		}
		<-held
	}
}
