package mailbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// lookForMissing looks why a mail file is missing. Usually another session has
// expunged the message. If the index still has it, the file is lost, and the
// message is expunged so that nobody stumbles over it again.
func (b *box) lookForMissing(uid uint32, why error) error {
	ctx := context.Background()
	if _, ok := b.store.(Resyncer); ok {
		return b.resyncMessage(ctx, uid, why)
	}
	if _, ok := b.store.(Mover); ok {
		return b.findMoved(ctx, uid)
	}
	lost := false
	err := b.locked(ctx, func() error {
		st := b.ix.State()
		i, ok := st.Find(uid)
		if !ok {
			return nil
		}
		f, err := b.store.Open(ctx, st, i)
		if err == nil {
			f.Close()
			return nil
		}
		if !errors.Is(err, ErrMissing) {
			return err
		}
		lost = true
		why = err
		b.tx.Expunge([]index.Expunged{{UID: uid}})
		return b.commit()
	})
	if err != nil || !lost {
		return err
	}
	b.pool.log.Errorf("Mailbox %s: UID=%d: %v; message expunged", b.loc.Name, uid, why)
	return b.findUnknown(ctx)
}

// findUnknown rebuilds the index if there are mail files that it does not know: where a file is
// missing, the uid may be wrong that the index has.
func (b *box) findUnknown(ctx context.Context) error {
	if _, ok := b.store.(Scanner); ok {
		return nil // that looks by itself
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.ix.Load(); err != nil {
		return err
	}
	st := b.ix.State()
	files, err := b.store.Rebuilding().Files(st)
	if err != nil {
		return err
	}
	for _, uid := range files {
		if _, ok := st.Find(uid); !ok && uid < st.Hdr.NextUID() {
			return b.rebuild(ctx, errUnknownFile)
		}
	}
	return nil
}

// resyncMessage has the storage rebuilt if the mailbox still has the message.
func (b *box) resyncMessage(ctx context.Context, uid uint32, why error) error {
	if err := b.sync(ctx); err != nil {
		return err
	}
	if s := b.snap.Load(); s != nil {
		i, ok := s.Find(uid)
		if !ok {
			return nil
		}
		if f, err := b.store.Open(ctx, s.st, i); err == nil {
			_, err = f.Details()
			f.Close()
			if err == nil {
				return nil
			}
		}
	}
	b.pool.cache.drop(b, uid)
	return b.resyncFor(ctx, fmt.Errorf("mailbox %s: UID=%d: %w", b.loc.Name, uid, why))
}

// mend repairs a damaged mail file, or expunges the message if nothing of it can
// be read. The original stays beside it, with another name.
func (b *box) mend(uid uint32, why error) error {
	b.pool.cache.drop(b, uid)
	m, ok := b.store.(Mender)
	if !ok {
		return b.resyncMessage(context.Background(), uid, why)
	}
	gone := false
	err := b.locked(context.Background(), func() error {
		if _, ok := b.ix.State().Find(uid); !ok {
			gone = true
			return nil
		}
		kept, original, err := m.Mend(uid)
		if err != nil {
			return err
		}
		if kept {
			b.pool.log.Errorf("Mailbox %s: UID=%d: %v; repaired, the original is %s", b.loc.Name, uid, why, original)
			return nil
		}
		gone = true
		b.pool.log.Errorf("Mailbox %s: UID=%d: %v; cannot be repaired, renamed to %s", b.loc.Name, uid, why, original)
		b.tx.Expunge([]index.Expunged{{UID: uid}})
		return b.commit()
	})
	if err != nil {
		return fmt.Errorf("%w; repairing it: %w", why, err)
	}
	if gone {
		return ErrExpunged
	}
	return nil
}
