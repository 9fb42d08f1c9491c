package postconf

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// A replacement is a file being written that will take the place of another. It is
// locked: nobody else edits that file.
type replacement struct {
	path string
	tmp  *os.File
	*bufio.Writer
}

// tmpMode is the mode of an unfinished file. One of another mode was left by a crash
// in the middle of a rename.
const tmpMode = 0o600

// replace begins the replacement of a file. It waits for others who edit it.
func replace(path string) (*replacement, error) {
	name := path + ".tmp"
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, tmpMode)
		if err != nil {
			return nil, fmt.Errorf("open %s: %s", name, reason(err))
		}
		ours, err := acquire(f)
		if err == nil && ours {
			return &replacement{path: path, tmp: f, Writer: bufio.NewWriter(f)}, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// acquire locks the file and empties it. It is not ours if it was renamed or removed
// while we waited, or is what a crash left.
func acquire(f *os.File) (ours bool, err error) {
	name := f.Name()
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %s", name, reason(err))
	}
	before, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("open %s: %s", name, reason(err))
	}
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) {
		return false, nil
	}
	if after.Mode() != tmpMode || after.Sys().(*syscall.Stat_t).Nlink > 1 {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("unlink %s: %s", name, reason(err))
		}
		return false, nil
	}
	if err := f.Truncate(0); err != nil {
		return false, fmt.Errorf("truncate %s: %s", name, reason(err))
	}
	return true, nil
}

// open opens the file that is being replaced.
func (r *replacement) open() (*os.File, error) {
	f, err := os.Open(r.path)
	if err != nil {
		return nil, fmt.Errorf("open %s for reading: %s", r.path, reason(err))
	}
	return f, nil
}

// discard gives the replacement up.
func (r *replacement) discard() {
	_ = os.Remove(r.tmp.Name()) // while it is locked
	_ = r.tmp.Close()
}

// commit puts the replacement in its place, with the mode and owner of old.
func (r *replacement) commit(old *os.File) error {
	if err := r.finish(old); err != nil {
		r.discard()
		return fmt.Errorf("close %s.tmp: %s", r.path, reason(err))
	}
	return r.tmp.Close()
}

func (r *replacement) finish(old *os.File) error {
	info, err := old.Stat()
	if err != nil {
		return err
	}
	if err := r.Flush(); err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	// Only root may give files away; the rename shows whether others may edit this one.
	if err := r.tmp.Chown(int(st.Uid), int(st.Gid)); err != nil && os.Geteuid() == 0 {
		return err
	}
	if err := r.tmp.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if err := r.tmp.Sync(); err != nil {
		return err
	}
	return os.Rename(r.tmp.Name(), r.path)
}
