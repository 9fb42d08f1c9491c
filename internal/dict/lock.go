package dict

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

	"golang.org/x/sys/unix"
)

// A lockMethod is how writers of a file keep others out.
type lockMethod uint8

const (
	lockDot   lockMethod = iota // a file PATH.lock, which becomes the new one
	lockFcntl                   // on the old file, by fcntl(2); the new one is PATH.tmp
	lockFlock                   // the same by flock(2)
)

// As Dovecot does it: how long others are waited for, and after how long a lock
// file that nobody touched is broken.
const (
	lockTimeout = 120 * time.Second
	lockStale   = 60 * time.Second
	lockPoll    = 20 * time.Millisecond
	// deadStale is how old the lock of a process is at least that does not exist: it
	// may not have been written yet.
	deadStale = 2 * time.Second
)

// A fileLock is a lock that is held, and the file that will be the new one.
type fileLock struct {
	path   string
	next   *os.File // nil once it is in place
	locked *os.File // the old file, if that is what is locked
}

// lockFile waits for the lock of the file at path.
func lockFile(ctx context.Context, path string, method lockMethod) (*fileLock, error) {
	deadline := time.Now().Add(lockTimeout)
	for {
		l, err := tryLock(path, method)
		if err == nil || !errors.Is(err, errLocked) {
			return l, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("timeout while waiting for the lock of %s", path)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

var errLocked = errors.New("locked")

func tryLock(path string, method lockMethod) (*fileLock, error) {
	if method == lockDot {
		return tryDotlock(path)
	}
	old, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	l := &fileLock{path: path, locked: old}
	if err = lockDescriptor(old, method); err == nil {
		err = l.isLatest()
	}
	if err == nil {
		l.next, err = os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	}
	if err != nil {
		old.Close()
		return nil, err
	}
	return l, nil
}

func lockDescriptor(f *os.File, method lockMethod) error {
	var err error
	if method == lockFlock {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	} else {
		// Of the open file, not of the process: its goroutines are others to each other.
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errLocked
	}
	return err
}

// isLatest reports whether another file was put in place before ours was locked.
func (l *fileLock) isLatest() error {
	have, err := l.locked.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(have, now) {
		return errLocked
	}
	return err
}

// tryDotlock creates PATH.lock, which says who has it: PID:HOST.
func tryDotlock(path string) (*fileLock, error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if isStale(path) {
			os.Remove(name)
		}
		return nil, errLocked
	}
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	if _, err := f.WriteString(strconv.Itoa(os.Getpid()) + ":" + host); err != nil {
		f.Close()
		os.Remove(name)
		return nil, err
	}
	return &fileLock{path: path, next: f}, nil
}

// isStale reports whether the owner of PATH.lock must be dead.
func isStale(path string) bool {
	st, err := os.Stat(path + ".lock")
	if err != nil {
		return false
	}
	age := time.Since(st.ModTime())
	if age <= deadStale {
		return false
	}
	text, _ := os.ReadFile(path + ".lock")
	pid, host, _ := strings.Cut(string(text), ":")
	own, _ := os.Hostname()
	if n, err := strconv.Atoi(pid); err == nil && n > 0 && host == own && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
		return true
	}
	return age > lockStale
}

// replace makes data the content of the file, with the permissions of the old one,
// if there was one, or else of its directory.
func (l *fileLock) replace(data []byte, old fs.FileInfo) error {
	if err := l.inherit(old); err != nil {
		return err
	}
	err := l.next.Truncate(0)
	if err == nil {
		_, err = l.next.WriteAt(data, 0)
	}
	if err == nil {
		err = l.next.Sync()
	}
	if err == nil {
		err = os.Rename(l.next.Name(), l.path)
	}
	if err != nil {
		return err
	}
	err = l.next.Close()
	l.next = nil
	return err
}

func (l *fileLock) inherit(old fs.FileInfo) error {
	mode, from := fs.FileMode(0), old
	if old == nil {
		dir, err := os.Stat(filepath.Dir(l.path))
		if err != nil {
			return err
		}
		mode, from = dir.Mode().Perm()&0o666|0o600, dir
	} else {
		mode = old.Mode().Perm()
	}
	if st, ok := from.Sys().(*syscall.Stat_t); ok && mode>>3&7 != mode&7 {
		// The group may do more than others: it must be the same one. Who is not
		// in it cannot give it, and the file then stays its own.
		if err := l.next.Chown(-1, int(st.Gid)); err != nil {
			mode = mode&^0o070 | mode&7<<3
		}
	}
	return l.next.Chmod(mode)
}

// release gives the lock back.
func (l *fileLock) release() {
	if l.next != nil {
		l.next.Close()
		os.Remove(l.next.Name())
	}
	if l.locked != nil {
		l.locked.Close()
	}
}
