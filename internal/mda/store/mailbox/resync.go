package mailbox

import (
	"context"
	"errors"
)

// errResync is why a mailbox is compared with its files that nothing is known to be wrong with.
var errResync = errors.New("resync was asked for")

// Resync makes the index anew from the files, and looks at each of these: the command
// force-resync of doveadm. Of an mdbox all mailboxes of the user are compared with the
// storage. What others have open they read again.
func (m *Mailbox) Resync(ctx context.Context) error {
	b := m.b
	var err error
	switch s := b.store.(type) {
	case Resyncer:
		err = b.resyncFor(ctx, errResync)
	case Scanner:
		s.Distrust()
		err = b.lock(ctx, func() error { return nil })
	default:
		err = b.resyncFiles(ctx)
	}
	return wrap("resync mailbox "+b.loc.Name, err)
}

// resyncFiles makes the index of a format with a file for each message anew, and mends the
// files.
func (b *box) resyncFiles(ctx context.Context) error {
	b.pool.log.Warningf("%s %s: Rebuilding index", b.loc.Format, b.loc.Dir) // Dovecot's words
	b.mu.Lock()
	err := b.ix.Force(ctx, b.store.Rebuilding())
	if err == nil {
		b.publish()
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	snap := b.snap.Load()
	for i := range snap.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		msg := Message{b: b, uid: snap.UID(i), st: snap.st, i: i}
		b.pool.cache.drop(b, msg.uid)
		_, err := msg.readDetails()
		if errors.Is(err, ErrCorrupt) {
			err = b.mend(msg.uid, err)
		}
		if err != nil && !errors.Is(err, ErrExpunged) {
			// One that cannot be opened now is no reason to leave the others.
			b.pool.log.Errorf("Mailbox %s: UID=%d: %v", b.loc.Name, msg.uid, err)
		}
	}
	return nil
}
