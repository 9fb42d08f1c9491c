package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// The times of Dovecot's lock on the subscriptions file.
const (
	dotlockTimeout   = 120 * time.Second
	dotlockStale     = 30 * time.Second
	dotlockOwnStale  = 2 * time.Second
	dotlockPoll      = 10 * time.Millisecond
	dotlockPollLimit = 500 * time.Millisecond
)

// A dotlock is the file path + ".lock", which excludes other writers of path and
// becomes its new content.
type dotlock struct {
	path string
	file *os.File
}

// takeDotlock waits for the lock on path. A lock of a dead process of this host,
// or one nobody touched for long, is removed.
func takeDotlock(ctx context.Context, path string) (*dotlock, error) {
	deadline := time.Now().Add(dotlockTimeout)
	for wait := dotlockPoll; ; wait = min(2*wait, dotlockPollLimit) {
		f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode(path))
		if err == nil {
			return newDotlock(path, f)
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if dotlockIsStale(path) {
			os.Remove(path + ".lock")
			continue
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s.lock: %w", path, mailbox.ErrLocked)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func newDotlock(path string, f *os.File) (*dotlock, error) {
	l := &dotlock{path: path, file: f}
	host, _ := os.Hostname()
	if _, err := f.WriteString(strconv.Itoa(os.Getpid()) + ":" + host); err != nil {
		l.abort()
		return nil, err
	}
	return l, nil
}

// fileMode returns the mode of files beside path: that of the directory without
// its x bits.
func fileMode(path string) fs.FileMode {
	dir := path[:strings.LastIndexByte(path, '/')+1]
	st, err := os.Stat(dir)
	if err != nil {
		return 0o600
	}
	return st.Mode().Perm()&0o666 | 0o600
}

func dotlockIsStale(path string) bool {
	st, err := os.Stat(path + ".lock")
	if err != nil {
		return false
	}
	age := time.Since(st.ModTime())
	if age > dotlockOwnStale && dotlockOwnerIsDead(path) {
		return true
	}
	if protected, err := os.Stat(path); err == nil {
		age = min(age, time.Since(protected.ModTime()))
	}
	return age > dotlockStale
}

// dotlockOwnerIsDead reports whether the lock names a process of this host that
// does not exist.
func dotlockOwnerIsDead(path string) bool {
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

// replace makes data the content of the file and releases the lock.
func (l *dotlock) replace(data []byte) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(data, 0); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(l.path+".lock", l.path); err != nil {
		return err
	}
	l.file.Close()
	l.file = nil
	return nil
}

// abort releases the lock, unless the file was replaced.
func (l *dotlock) abort() {
	if l.file == nil {
		return
	}
	os.Remove(l.path + ".lock")
	l.file.Close()
	l.file = nil
}
