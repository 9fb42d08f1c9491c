package dotlock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrTimeout says that the lock could not be had in time.
var ErrTimeout = errors.New("timeout while waiting for lock")

// Options say how long to wait.
type Options struct {
	Timeout time.Duration // for others to give the lock back
	Stale   time.Duration // after which a lock is broken that nobody touched
}

const (
	// ownStale is how old the lock of a dead process is at least: it may be
	// one that has not been written yet.
	ownStale = 2 * time.Second
	// emptyStale is how old a lock without content is at least: its owner was killed
	// before it could write it, or the power failed after.
	emptyStale = 5 * time.Second

	firstPoll = time.Millisecond
	lastPoll  = 100 * time.Millisecond
)

// A Lock is one that is held.
type Lock struct {
	path string
	file *os.File
	info fs.FileInfo // of the lock file
}

// Take waits for the lock on path.
func Take(ctx context.Context, path string, opt Options) (*Lock, error) {
	var deadline time.Time
	for wait := firstPoll; ; wait = min(2*wait, lastPoll) {
		f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode(path))
		if err == nil {
			return own(path, f)
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if dead := stale(path, opt.Stale); dead != nil && breakLock(path, dead) {
			continue
		}
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(opt.Timeout)
		}
		if now.After(deadline) {
			return nil, fmt.Errorf("%s.lock: %w", path, ErrTimeout)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func own(path string, f *os.File) (*Lock, error) {
	l := &Lock{path: path, file: f}
	host, _ := os.Hostname()
	_, err := f.WriteString(strconv.Itoa(os.Getpid()) + ":" + host)
	if err == nil {
		l.info, err = f.Stat()
	}
	if err != nil {
		f.Close()
		os.Remove(path + ".lock")
		return nil, err
	}
	return l, nil
}

// fileMode returns the mode of files beside path: that of the directory without
// its x bits.
func fileMode(path string) fs.FileMode {
	st, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return 0o600
	}
	return st.Mode().Perm()&0o666 | 0o600
}

// stale returns the lock file if nobody holds the lock any more, as far as can be seen.
func stale(path string, limit time.Duration) fs.FileInfo {
	st, err := os.Stat(path + ".lock")
	if err != nil {
		return nil
	}
	age := time.Since(st.ModTime())
	if age > ownStale && ownerIsDead(path) || age > emptyStale && st.Size() == 0 {
		return st
	}
	if protected, err := os.Stat(path); err == nil {
		age = min(age, time.Since(protected.ModTime()))
	}
	if age > limit {
		return st
	}
	return nil
}

// breakLock removes the lock file that was found to be stale, and no other: of several who wait for a dead one,
// the first takes the lock anew, and the next must not take that for the dead one's. So
// each holds a lock on the file itself while it looks again.
func breakLock(path string, dead fs.FileInfo) bool {
	f, err := os.OpenFile(path+".lock", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true
	case errors.Is(err, fs.ErrPermission): // of another user: there is no more than to look again
	case err != nil:
		return false
	default:
		defer f.Close()
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			return false // somebody else is at it
		}
	}
	now, err := os.Lstat(path + ".lock")
	if err != nil || !os.SameFile(now, dead) || !now.ModTime().Equal(dead.ModTime()) {
		return false
	}
	return os.Remove(path+".lock") == nil
}

// ownerIsDead reports whether the lock names a process of this host that does
// not exist.
func ownerIsDead(path string) bool {
	text, err := os.ReadFile(path + ".lock")
	if err != nil {
		return false
	}
	pidText, host, _ := strings.Cut(string(text), ":")
	pid, err := strconv.Atoi(pidText)
	own, _ := os.Hostname()
	if err != nil || pid <= 0 || host != own {
		return false
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// Replace makes data, flushed to disk, the content of the file and gives the lock
// back. After an error the lock is still held.
func (l *Lock) Replace(data []byte) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(data, 0); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	if st, err := os.Lstat(l.path + ".lock"); err != nil || !os.SameFile(st, l.info) {
		return fmt.Errorf("%s.lock: somebody took the lock away, or gave it to another one", l.path)
	}
	if err := os.Rename(l.path+".lock", l.path); err != nil {
		return err
	}
	l.file.Close()
	l.file = nil
	return nil
}

// Release gives the lock back, unless the file was replaced. A lock that others took away
// because it looked stale is left to them.
func (l *Lock) Release() {
	if l.file == nil {
		return
	}
	if st, err := os.Lstat(l.path + ".lock"); err == nil && os.SameFile(st, l.info) {
		os.Remove(l.path + ".lock")
	}
	l.file.Close()
	l.file = nil
}

// Touch tells others that the owner lives.
func (l *Lock) Touch() {
	now := time.Now()
	_ = os.Chtimes(l.path+".lock", now, now) // it only becomes stale earlier
}
