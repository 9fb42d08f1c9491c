package mbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dotlock"
)

// A Method is a way to lock the file.
type Method uint8

// The values of mbox_read_locks and mbox_write_locks.
const (
	Dotlock    Method = iota
	DotlockTry        // nothing if the directory cannot be written to
	Fcntl
	Flock
	Lockf // on Linux, another name of Fcntl
)

var methods = [...]string{"dotlock", "dotlock_try", "fcntl", "flock", "lockf"}

// ErrLocked says that others have the file locked for too long.
var ErrLocked = errors.New("timeout while waiting for the mbox's lock")

// ParseMethods reads a list of methods.
func ParseMethods(list string) (m []Method, err error) {
	for _, word := range strings.Fields(list) {
		i := slices.Index(methods[:], strings.ToLower(word))
		switch {
		case i < 0:
			return nil, fmt.Errorf("Invalid value %s", word)
		case slices.Contains(m, Method(i)):
			return nil, fmt.Errorf("Duplicated value %s", word)
		}
		m = append(m, Method(i))
	}
	return m, nil
}

// ParseLocks reads the two settings. Who writes has to take all that readers take, in the same
// order, or they would wait for each other.
func ParseLocks(read, write string) (r, w []Method, err error) {
	if r, err = ParseMethods(read); err != nil {
		return nil, nil, fmt.Errorf("mbox_read_locks: %w", err)
	}
	if w, err = ParseMethods(write); err != nil {
		return nil, nil, fmt.Errorf("mbox_write_locks: %w", err)
	}
	next := 0
	for _, m := range w {
		if next < len(r) && r[next] == m {
			next++
		}
	}
	if next < len(r) {
		return nil, nil, errors.New("mbox read/write lock list settings are invalid. Lock ordering must be the same with both, " +
			"and write locks must contain all read locks (and possibly more)")
	}
	return r, w, nil
}

const (
	firstPoll = 100 * time.Microsecond
	lastPoll  = 10 * time.Millisecond
	// touchEvery is how often a dotlock is touched while much is written.
	touchEvery = 10 * time.Second
)

// held are the locks of one owner.
type held struct {
	b        *Box
	methods  []Method
	write    bool
	deadline time.Time
	dot      *dotlock.Lock
}

// takeDot takes the dotlock if it is one of the methods.
func (h *held) takeDot(ctx context.Context, m Method) error {
	opt := dotlock.Options{Timeout: max(time.Until(h.deadline), 0), Stale: h.b.opt.DotlockStale}
	lock, err := dotlock.Take(ctx, h.b.opt.Path, opt)
	switch {
	case errors.Is(err, dotlock.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case m == DotlockTry && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)):
		return nil
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (set mail_privileged_group to the group that may write to the directory)", err)
	case err != nil:
		return err
	}
	h.dot = lock
	return nil
}

// takeFile locks the open file.
func (h *held) takeFile(ctx context.Context, fd int, m Method) error {
	for wait := firstPoll; ; wait = min(2*wait, lastPoll) {
		err := tryLock(fd, m, h.write)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES):
			return fmt.Errorf("lock(%s): %w", h.b.opt.Path, err)
		case time.Now().After(h.deadline):
			return fmt.Errorf("%s: %w", h.b.opt.Path, ErrLocked)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// tryLock uses locks that belong to the open file and not to the process.
func tryLock(fd int, m Method, write bool) error {
	if m == Flock {
		how := unix.LOCK_SH
		if write {
			how = unix.LOCK_EX
		}
		return unix.Flock(fd, how|unix.LOCK_NB)
	}
	typ := int16(unix.F_RDLCK)
	if write {
		typ = unix.F_WRLCK
	}
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: typ})
}

// take takes all locks, in their order. open returns the file, which must not be opened
// before the dotlock is held if that comes first.
func (h *held) take(ctx context.Context, open func() (fd int, err error)) error {
	for _, m := range h.methods {
		if m == Dotlock || m == DotlockTry {
			if err := h.takeDot(ctx, m); err != nil {
				return err
			}
			continue
		}
		fd, err := open()
		if err == nil {
			err = h.takeFile(ctx, fd, m)
		}
		if err != nil {
			return err
		}
	}
	_, err := open()
	return err
}

// release gives back what is not given back by closing the file.
func (h *held) release() {
	if h.dot != nil {
		h.dot.Release()
		h.dot = nil
	}
}

// unlockFile gives back the locks of a file that stays open.
func unlockFile(fd int, list []Method) {
	for _, m := range list {
		switch m {
		case Fcntl, Lockf:
			_ = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK}) // cannot fail
		case Flock:
			_ = unix.Flock(fd, unix.LOCK_UN)
		}
	}
}
