package cache

import (
	"bytes"
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// lockTimeout is how long Dovecot waits for the file's lock.
const lockTimeout = 10 * time.Second

// errBusy says that others have the file's lock for too long.
var errBusy = errors.New("cache is locked")

// lock locks the file with the sequence that the index has, and reads what is new in
// it. nil says that there is none, so that one has to be made. mu is held.
func (c *Cache) lock(ctx context.Context, indexID, seq uint32) (f *file, size int64, err error) {
	for range 5 {
		f := c.file.Load()
		if f == nil {
			if f, err = c.openFile(indexID); err != nil {
				c.failed(f, err)
				return nil, 0, ignoreDamage(err)
			}
			if f == nil {
				return nil, 0, nil
			}
			c.use(f)
		}
		if err := c.lockFile(ctx, f); err != nil {
			return nil, 0, err
		}
		size, ok := c.sizeOf(f)
		if !ok { // it has been replaced
			c.unlock(f)
			c.file.Store(nil)
			f.Close()
			continue
		}
		if f.hdr.FileSeq != seq {
			c.unlock(f)
			return nil, 0, nil // the index's lock is held: nobody is about to change that
		}
		g, err := c.upToDate(f)
		if err != nil {
			c.unlock(f)
			c.file.Store(nil)
			c.failed(f, err)
			return nil, 0, ignoreDamage(err)
		}
		return g, size, nil
	}
	return nil, 0, errBusy
}

func ignoreDamage(err error) error {
	if errors.Is(err, ErrDamaged) {
		return nil
	}
	return err
}

// upToDate returns f with the fields that are in it now. mu is held.
func (c *Cache) upToDate(f *file) (*file, error) {
	b := make([]byte, len(f.raw))
	if len(b) > 0 {
		if err := readFull(f, b, int64(f.at)); err != nil {
			return nil, err
		}
		if bytes.Equal(b, f.raw) {
			return f, nil
		}
	}
	g := *f
	if err := c.readFields(&g); err != nil {
		return nil, err
	}
	c.file.Store(&g)
	return &g, nil
}

func (c *Cache) lockFile(ctx context.Context, f *file) error {
	timeout := lockTimeout
	if c.busy {
		timeout = time.Millisecond // it is not worth to wait again and again
	}
	err := index.LockFile(ctx, int(f.Fd()), c.opt.Lock, timeout)
	c.busy = err != nil
	if errors.Is(err, index.ErrLocked) {
		return errBusy
	}
	return err
}

func (c *Cache) unlock(f *file) {
	if c.opt.Sync {
		_ = unix.Fdatasync(int(f.Fd())) // what is lost can be computed again
	}
	index.UnlockFile(int(f.Fd()), c.opt.Lock)
}

// sizeOf returns the size of f if it still has its name.
func (c *Cache) sizeOf(f *file) (size int64, ok bool) {
	dir, err := c.opt.Dir(false)
	if err != nil {
		return 0, false
	}
	var st unix.Stat_t
	err = dir.Stat(index.CacheName, &st)
	return st.Size, err == nil && st.Ino == f.ino && st.Dev == f.dev
}
