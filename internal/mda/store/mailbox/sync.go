package mailbox

import (
	"context"
	"errors"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// load makes sure that the state has the messages.
func (b *box) load(ctx context.Context) error {
	if err := b.loadLocked(ctx); err != nil {
		return err
	}
	return b.afterwards(ctx)
}

func (b *box) loadLocked(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.ix.Load()
	if errors.Is(err, index.ErrDamaged) {
		err = b.repair(ctx, err)
	}
	if err == nil {
		b.publish()
	}
	return err
}

// sync reads what other processes did.
func (b *box) sync(ctx context.Context) error {
	b.mu.Lock()
	changed, err := b.ix.Refresh()
	if err == nil {
		err = b.ix.Load()
	}
	if errors.Is(err, index.ErrDamaged) {
		err, changed = b.repair(ctx, err), true
	}
	if err == nil && (changed || b.snap.Load() == nil || b.privateChanged()) {
		b.publish()
	}
	st := b.ix.State()
	unsound := err == nil && !b.sound(st) && !st.Deleted()
	scan, _ := b.store.(Scanner)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if unsound {
		if err := b.forceRepair(ctx); err != nil {
			return err
		}
		return b.afterwards(ctx)
	}
	if len(st.ExpungeRequests()) > 0 || scan != nil && scan.Stale() {
		return b.readOn(b.lock(ctx, func() error { return nil }))
	}
	return b.afterwards(ctx)
}

// repair makes a new index from what is left of the old one and the mail files.
// mu is held.
func (b *box) repair(ctx context.Context, why error) error {
	reason, err := b.ix.Repair(ctx, b.store.Rebuilding())
	if err != nil {
		return err
	}
	if reason != nil {
		b.pool.log.Errorf("Mailbox %s: %v; rebuilt from %d mail files", b.loc.Name, why, b.ix.State().Len())
		b.resyncLater(why)
	} else if !b.sound(b.ix.State()) {
		b.resyncLater(why)
	}
	return nil
}

// forceRepair rebuilds the index of a mailbox that is marked for it.
func (b *box) forceRepair(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sound(b.ix.State()) {
		return nil
	}
	return b.rebuild(ctx, errMarked)
}

// rebuild makes a new index though the old one can be read. mu is held.
func (b *box) rebuild(ctx context.Context, why error) error {
	err := b.ix.Force(ctx, b.store.Rebuilding())
	if err == nil {
		b.pool.log.Warningf("Mailbox %s: %v; rebuilt from %d mail files", b.loc.Name, why, b.ix.State().Len())
		b.resyncLater(why)
		b.publish()
	}
	return err
}

// Why an index was rebuilt, or the storage, that could be read.
var (
	errMarked = errors.New("index was marked for a rebuild")
	errCut    = errors.New("index log ended with an unfinished transaction")
)

// scanTemps removes what killed saves left, now and then. mu is held.
func (b *box) scanTemps() {
	interval := b.set.TempScanInterval
	now := b.pool.now()
	if interval <= 0 || now.Unix()-int64(b.ix.State().Hdr.TempScan()) < int64(interval/time.Second) {
		return
	}
	// One list of the directory; whatever fails will be tried next time.
	if b.store.RemoveStale(now) != nil {
		return
	}
	if _, err := b.ix.Lock(context.Background()); err != nil {
		return
	}
	b.tx.TempScan(uint32(now.Unix()))
	if err := b.commit(); err != nil {
		b.pool.log.Warningf("Mailbox %s: %v", b.loc.Name, err)
	}
	b.ix.Unlock()
	b.publish()
}
