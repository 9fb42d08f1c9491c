package index

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Errors that callers tell apart.
var (
	ErrNotExist = errors.New("no index")
	ErrExists   = errors.New("index exists already")
	ErrDamaged  = errors.New("index is damaged")
	ErrDeleted  = errors.New("mailbox was deleted")
	ErrLocked   = errors.New("timeout while waiting for lock")
	ErrNoSpace  = errors.New("not enough disk space")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// sysError says what failed on which file; a full disk or quota becomes
// ErrNoSpace.
func sysError(op, path string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%s(%s): %w (%w)", op, path, ErrNoSpace, err)
	}
	return fmt.Errorf("%s(%s): %w", op, path, err)
}
