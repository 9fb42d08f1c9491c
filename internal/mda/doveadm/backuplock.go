package doveadm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// syncLock is the file in the home directory that Dovecot's dsync locks.
const syncLock = ".dovecot-sync.lock"

// lockUser has other runs of backup and sync for the same user wait.
func lockUser(ctx context.Context, home string, timeout time.Duration) (unlock func(), err error) {
	if home == "" {
		return nil, errors.New("Couldn't lock: the user has no home directory")
	}
	path := filepath.Join(home, syncLock)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("Couldn't create lock %s: %s", path, reason(err))
	}
	if err := index.LockFile(ctx, int(f.Fd()), index.LockFcntl, max(timeout, time.Millisecond)); err != nil {
		f.Close()
		return nil, fmt.Errorf("Couldn't lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
