package maildir

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// reportUnusable logs, once, that there is something else where a file of the control directory
// should be. b.mu is held.
func (b *Box) reportUnusable(name string, err error) {
	if b.unusable[name] {
		return
	}
	if b.unusable == nil {
		b.unusable = make(map[string]bool)
	}
	b.unusable[name] = true
	b.opt.Log.Errorf("Mailbox %s: %v; it will be renamed and written anew", b.opt.Name, err)
}

// clearWay renames what is in the way of a file that is about to be written. b.mu and the lock are
// held.
func (b *Box) clearWay(name string) error {
	fd, _, err := b.opt.Control.OpenRegular(name, unix.O_RDONLY)
	switch {
	case err == nil:
		unix.Close(fd)
	case errors.Is(err, index.ErrDamaged):
		delete(b.unusable, name)
		return b.opt.Control.SetAside(name)
	}
	return nil
}

// openFile opens the file of a message. dbox.ErrCorrupt for what is no file.
func (b *Box) openFile(path string) (fd int, st unix.Stat_t, err error) {
	fd, st, err = b.opt.Dir.OpenRegular(path, unix.O_RDONLY)
	switch {
	case errors.Is(err, index.ErrNotExist):
		err = unix.ENOENT
		if unix.Fstatat(b.opt.Dir.FD, path, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			err = fmt.Errorf("%w: %s is a symlink to nothing", dbox.ErrCorrupt, b.opt.Dir.File(path))
		}
	case errors.Is(err, index.ErrDamaged) && !errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%w: %w", dbox.ErrCorrupt, err)
	}
	return fd, st, err
}

// SetAside moves what is no file, but has the name of a message's, to tmp. It returns where it is
// now. Locked.
func (b *Box) SetAside(uid uint32, guess Info) (path string, err error) {
	err = b.with(uid, guess, func(e *Entry, from string) error {
		fd, _, err := b.openFile(from)
		if err == nil {
			unix.Close(fd)
			return fmt.Errorf("%s cannot be repaired", b.opt.Dir.File(from))
		}
		if !errors.Is(err, dbox.ErrCorrupt) {
			return err
		}
		path = tmpName + "/" + from[4:] + dbox.BrokenSuffix
		return unix.Renameat(b.opt.Dir.FD, from, b.opt.Dir.FD, path)
	})
	return b.opt.Dir.File(path), err
}

// NameLetter gives a keyword letter another name. Locked.
func (b *Box) NameLetter(n int, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keywords.letter(name) >= 0 {
		return nil
	}
	was := b.keywords[n]
	b.keywords[n] = name
	err := b.writeKeywords()
	if err != nil {
		b.keywords[n] = was
	}
	return err
}
