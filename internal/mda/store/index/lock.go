package index

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// LockMethod is the setting lock_method.
type LockMethod string

// The lock methods for files that are open anyway.
const (
	LockFcntl LockMethod = "fcntl"
	LockFlock LockMethod = "flock"
)

// defaultLockTimeout is how long Dovecot waits for the log's lock.
const defaultLockTimeout = 180 * time.Second

// lockFile takes a whole-file write lock on fd. fcntl locks are OFD locks: they
// exclude the POSIX locks of other processes, but belong to the descriptor, so
// closing another descriptor of the file does not drop them.
func lockFile(ctx context.Context, fd int, method LockMethod, timeout time.Duration) error {
	if timeout <= 0 {
		timeout = defaultLockTimeout
	}
	var deadline time.Time
	for wait := 500 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		err := tryLock(fd, method, unix.F_WRLCK)
		if err == nil {
			return nil
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return err
		}
		// A blocking lock could neither time out nor be canceled.
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(timeout)
		}
		if now.After(deadline) {
			return ErrLocked
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func unlockFile(fd int, method LockMethod) {
	// It can only fail for a bad descriptor.
	_ = tryLock(fd, method, unix.F_UNLCK)
}

func tryLock(fd int, method LockMethod, typ int16) error {
	if method == LockFlock {
		how := unix.LOCK_EX | unix.LOCK_NB
		if typ == unix.F_UNLCK {
			how = unix.LOCK_UN
		}
		return unix.Flock(fd, how)
	}
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: typ})
}
