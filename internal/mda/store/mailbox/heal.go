package mailbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// dropMissing looks why a mail file is missing. Usually another session has
// expunged the message. If the index still has it, the file is lost, and the
// message is expunged so that nobody stumbles over it again.
func (b *box) dropMissing(uid uint32) error {
	lost := false
	err := b.locked(context.Background(), func() error {
		if _, ok := b.ix.State().Find(uid); !ok {
			return nil
		}
		f, err := b.openFile(uid)
		if err == nil {
			f.Close()
			return nil
		}
		if !errors.Is(err, dbox.ErrNotExist) {
			return err
		}
		lost = true
		b.tx.Expunge([]index.Expunged{{UID: uid}})
		return b.commit()
	})
	if lost {
		b.pool.log.Errorf("Mailbox %s: UID=%d: %s is missing; message expunged", b.loc.Name, uid, b.dir.File(dbox.FileName(uid)))
	}
	return err
}

// fixFile repairs a damaged mail file, or expunges the message if nothing of it
// can be read. The original stays beside it, with another name.
func (b *box) fixFile(uid uint32, why error) error {
	name := dbox.FileName(uid)
	b.pool.cache.drop(b, uid)
	gone := false
	err := b.locked(context.Background(), func() error {
		if _, ok := b.ix.State().Find(uid); !ok {
			gone = true
			return nil
		}
		kept, err := dbox.Repair(b.dir, name)
		if err != nil {
			return err
		}
		if kept {
			b.pool.log.Errorf("Mailbox %s: UID=%d: %v; repaired, the original is %s%s", b.loc.Name, uid, why, b.dir.File(name), dbox.BrokenSuffix)
			return nil
		}
		gone = true
		b.pool.log.Errorf("Mailbox %s: UID=%d: %v; cannot be repaired, renamed to %s%s", b.loc.Name, uid, why, b.dir.File(name), dbox.BrokenSuffix)
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
