package mailbox

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// noSpace tells whether an operation failed because the disk is full, or the quota.
func noSpace(err error) bool {
	return errors.Is(err, index.ErrNoSpace) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// readOn drops the error of looking for changes if that failed because the disk is full: what the
// mailbox had can still be read. It is logged once.
func (b *box) readOn(err error) error {
	if err == nil {
		b.full.Store(false)
	}
	if !noSpace(err) || b.snap.Load() == nil {
		return err
	}
	if !b.full.Swap(true) {
		b.pool.log.Errorf("Mailbox %s: %v; changes by others are not seen until there is space", b.loc.Name, err)
	}
	return nil
}
