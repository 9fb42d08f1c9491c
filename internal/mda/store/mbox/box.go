package mbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Options say where a mailbox is and how to treat it.
type Options struct {
	Name string // for messages
	Path string
	Dir  *index.Dir // of the index: for the journal and temporary files
	Log  *maillog.Logger

	ReadLocks, WriteLocks []Method
	LockTimeout           time.Duration
	DotlockStale          time.Duration

	Digest Digest
	Sync   bool // mail_fsync is not never
}

// A Box is an open mailbox. Methods are for one goroutine at a time that has called
// [Box.Lock], but for those that say otherwise.
type Box struct {
	opt Options

	mu       sync.Mutex // guards the fields up to the empty line
	fd       int        // -1 before it is needed
	dev, ino uint64
	stamp    Stamp // of the file when the index agreed with it
	readOnly bool
	replaced int // how often another file had the name

	lock   *held
	base   *Base // of the first message; nil if it is not known
	size   int64 // of the file, while it is locked
	lastAt time.Time
}

// A Stamp tells states of the file apart.
type Stamp struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime unix.Timespec
}

func stampOf(st *unix.Stat_t) Stamp {
	return Stamp{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim, Ctime: st.Ctim}
}

// Open returns a mailbox. Its file is opened when it is needed.
func Open(opt Options) *Box { return &Box{opt: opt, fd: -1} }

// Close closes the file.
func (b *Box) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeFile()
}

func (b *Box) closeFile() {
	if b.fd >= 0 {
		unix.Close(b.fd)
		b.fd = -1
	}
}

// openFile opens a file of mail. Reading it leaves alone when it was last read: programs
// tell by that whether there is new mail.
func openFile(path string, flags int) (fd int, st unix.Stat_t, err error) {
	flags |= unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	for {
		fd, err = unix.Open(path, flags|unix.O_NOATIME, 0)
		if errors.Is(err, unix.EPERM) { // it is not the user's
			fd, err = unix.Open(path, flags, 0)
		}
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return -1, st, fmt.Errorf("open(%s): %w", path, err)
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a file")
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, fmt.Errorf("%s: %w", path, err)
	}
	return fd, st, nil
}

// latest returns the open file that has the name now.
func (b *Box) latest() (fd int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		var st unix.Stat_t
		if err := unix.Stat(b.opt.Path, &st); err != nil {
			return -1, fmt.Errorf("stat(%s): %w", b.opt.Path, err)
		}
		if st.Dev == b.dev && st.Ino == b.ino {
			return b.fd, nil
		}
		b.closeFile()
	}
	fd, st, err := openFile(b.opt.Path, unix.O_RDWR)
	b.readOnly = errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS)
	if b.readOnly {
		fd, st, err = openFile(b.opt.Path, unix.O_RDONLY)
	}
	if err != nil {
		return -1, err
	}
	if b.ino != 0 && (b.dev != st.Dev || b.ino != st.Ino) {
		b.replaced++
	}
	b.fd, b.dev, b.ino = fd, st.Dev, st.Ino
	return fd, nil
}

// errAgain has a lock taken anew: the file was replaced while it was waited for.
var errAgain = errors.New("file was replaced")

// Lock takes the locks for writing, and finishes what a killed process began. A file that may
// only be read is locked for reading.
func (b *Box) Lock(ctx context.Context) (unlock func(), err error) {
	deadline := time.Now().Add(b.opt.LockTimeout)
	for {
		unlock, err := b.lockOnce(ctx, deadline)
		if err == nil {
			err = b.locked()
			if err == nil {
				return unlock, nil
			}
			unlock()
		}
		if !errors.Is(err, errAgain) {
			return nil, err
		}
	}
}

func (b *Box) lockOnce(ctx context.Context, deadline time.Time) (unlock func(), err error) {
	if err := b.access(); err != nil {
		return nil, err
	}
	h := &held{b: b, methods: b.opt.WriteLocks, write: true, deadline: deadline}
	if b.readOnly {
		h.methods, h.write = b.opt.ReadLocks, false
	}
	fd, again := -1, false
	err = h.take(ctx, func() (int, error) {
		now, err := b.latest()
		if err == nil && fd >= 0 && now != fd {
			again = true
		}
		fd = now
		return now, err
	})
	if err == nil && again {
		err = errAgain
	}
	unlock = func() {
		b.lock = nil
		unlockFile(fd, h.methods)
		h.release()
	}
	if err != nil {
		if fd >= 0 {
			unlockFile(fd, h.methods)
		}
		h.release()
		return nil, err
	}
	b.lock = h
	return unlock, nil
}

// access finds out whether the file may be written to, which says which locks to take.
func (b *Box) access() error {
	if len(b.opt.WriteLocks) > 0 && b.opt.WriteLocks[0] <= DotlockTry {
		// It must not be opened before it is locked.
		err := unix.Faccessat(unix.AT_FDCWD, b.opt.Path, unix.R_OK|unix.W_OK, unix.AT_EACCESS)
		b.mu.Lock()
		b.readOnly = errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS)
		b.mu.Unlock()
		return nil
	}
	_, err := b.latest()
	return err
}

// locked begins the time of a lock.
func (b *Box) locked() error {
	var st, path unix.Stat_t
	if err := unix.Fstat(b.fd, &st); err != nil {
		return fmt.Errorf("fstat(%s): %w", b.opt.Path, err)
	}
	if err := unix.Stat(b.opt.Path, &path); err != nil || path.Ino != st.Ino || path.Dev != st.Dev {
		return errOr(err, errAgain)
	}
	b.lastAt = time.Now()
	if b.readOnly {
		b.size, b.base = st.Size, nil
		return nil
	}
	if err := b.recover(&st); err != nil {
		return err
	}
	if err := unix.Fstat(b.fd, &st); err != nil {
		return fmt.Errorf("fstat(%s): %w", b.opt.Path, err)
	}
	b.size = st.Size
	if stampOf(&st) != b.stamp {
		b.base = nil
	}
	return nil
}

// Stale reports whether the file may have changed since [Box.Synced]. Anybody may call it.
func (b *Box) Stale() bool {
	b.mu.Lock()
	want := b.stamp
	b.mu.Unlock()
	var st unix.Stat_t
	return unix.Stat(b.opt.Path, &st) != nil || stampOf(&st) != want
}

// Now returns what the file is like.
func (b *Box) Now() (Stamp, error) {
	var st unix.Stat_t
	err := unix.Fstat(b.fd, &st)
	return stampOf(&st), err
}

// Synced notes that the index agrees with the file as it is, and returns that.
func (b *Box) Synced() (Stamp, error) {
	s, err := b.Now()
	if err == nil {
		b.mu.Lock()
		b.stamp = s
		b.mu.Unlock()
	}
	return s, err
}

// Distrust has Stale report that the file has changed. Anybody may call it.
func (b *Box) Distrust() {
	b.mu.Lock()
	b.stamp = Stamp{}
	b.mu.Unlock()
}

// ReadOnly reports whether the file may not be written to.
func (b *Box) ReadOnly() bool { return b.readOnly }

// Flush has the file on disk. Anybody may call it.
func (b *Box) Flush() error {
	b.mu.Lock()
	fd := -1
	var err error
	if b.fd >= 0 {
		fd, err = unix.FcntlInt(uintptr(b.fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	b.mu.Unlock()
	if fd < 0 || err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fdatasync(fd); err != nil {
		return fmt.Errorf("fdatasync(%s): %w", b.opt.Path, err)
	}
	return nil
}

// Replaced returns how often another file was found to have the name. Anybody may call it.
func (b *Box) Replaced() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replaced
}

// SetTimes makes the file look like one with new mail, read before it was last written to,
// or without.
func (b *Box) SetTimes(recent bool) {
	var st unix.Stat_t
	if unix.Fstat(b.fd, &st) != nil {
		return
	}
	atime, unread := st.Mtim, st.Atim.Nano() < st.Mtim.Nano()
	switch {
	case recent == unread:
		return
	case recent:
		atime = unix.NsecToTimespec(st.Mtim.Nano() - int64(time.Second))
	}
	// It fails for a file of another user, whose programs then look for new mail in vain.
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, b.opt.Path, []unix.Timespec{atime, {Nsec: unix.UTIME_OMIT}}, 0)
}

// ReadAt reads from the file.
func (b *Box) ReadAt(p []byte, off int64) (int, error) { return index.ReadAt(b.fd, p, off) }

func (b *Box) writeAt(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(b.fd, p, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write(%s): %w", b.opt.Path, err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// alive tells other programs now and then that the lock is not stale.
func (b *Box) alive() {
	if b.lock != nil && b.lock.dot != nil && time.Since(b.lastAt) > touchEvery {
		b.lock.dot.Touch()
		b.lastAt = time.Now()
	}
}

// parser returns one of the whole file.
func (b *Box) parser() *parser { return &parser{w: newWindow(b, b.size), digest: b.opt.Digest} }

// Remove removes the file.
func (b *Box) Remove() error {
	if err := os.Remove(b.opt.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Seen returns what the file was like when Synced was called last. Anybody may call it.
func (b *Box) Seen() Stamp {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stamp
}
