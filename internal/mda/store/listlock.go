package store

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// listLockTimeout is how long creating, deleting and renaming waits for others
// that do.
const listLockTimeout = 60 * time.Second

// A listLock is a locked file, such as mailboxes.lock. It exists only while somebody
// holds it.
type listLock struct {
	path string
	file *os.File
}

// lock takes the namespace's lock on the list of mailboxes.
func (ns *Namespace) lock(ctx context.Context) (*listLock, error) {
	if _, err := ns.open(); err != nil {
		return nil, err
	}
	path := filepath.Join(ns.st.listRoot(), "mailboxes.lock")
	if ns.st.volatile != "" {
		sum := sha1.Sum([]byte(ns.Prefix))
		path = filepath.Join(ns.st.volatile, "mailboxes.lock"+hex.EncodeToString(sum[:]))
		if err := os.MkdirAll(ns.st.volatile, 0o700); err != nil {
			return nil, err
		}
	}
	if err := ns.ensure(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return takeLock(ctx, path, time.Now().Add(listLockTimeout))
}

// takeLock takes the lock that a file is while it exists. It waits until the deadline.
func takeLock(ctx context.Context, path string, deadline time.Time) (*listLock, error) {
	for {
		f, err := createLocked(path)
		if errors.Is(err, fs.ErrExist) {
			f, err = openLocked(ctx, path, deadline)
		}
		if err != nil {
			return nil, err
		}
		if f != nil {
			return &listLock{path: path, file: f}, nil
		}
	}
}

// createLocked makes the file so that it appears under its name locked.
func createLocked(path string) (*os.File, error) {
	var random [8]byte
	rand.Read(random[:])
	temp := path + hex.EncodeToString(random[:])
	f, err := createFile(temp, os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp)
	if err = tryLock(f); err == nil {
		err = os.Link(temp, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openLocked waits for the lock of a file that exists. It returns nil if the
// file is gone meanwhile, as it is when its holder is done.
func openLocked(ctx context.Context, path string, deadline time.Time) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if err = tryLock(f); err == nil {
			break
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			break
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("%s: %w", path, mailbox.ErrLocked)
			break
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	have, err1 := f.Stat()
	want, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(have, want) {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// tryLock locks the whole file. OFD locks exclude the POSIX locks of other
// programs and, unlike them, other goroutines.
func tryLock(f *os.File) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
}

func (l *listLock) unlock() {
	os.Remove(l.path)
	l.file.Close()
}
