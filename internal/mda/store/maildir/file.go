package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openTries bounds how often a file is looked for that others rename.
const openTries = 5

// with calls fn with the paths that the file of a message may have, until one of them
// exists. guess is what the index says.
func (b *Box) with(uid uint32, guess Info, fn func(e *Entry, path string) error) error {
	e, ok := b.Entry(uid)
	if !ok {
		// Another process may have just given it the uid.
		if err := b.refresh(); err != nil {
			return err
		}
		e, ok = b.Entry(uid)
	}
	if !ok {
		return fmt.Errorf("UID=%d: %w", uid, ErrNotExist)
	}
	b.mu.Lock()
	odd := b.odd[e.Base]
	b.mu.Unlock()
	for _, path := range [...]string{odd, expected(e.Base, guess), newName + "/" + e.Base} {
		if path == "" {
			continue
		}
		if err := fn(&e, path); !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	for range openTries {
		l, err := b.readDirs()
		if err != nil {
			return err
		}
		path := l.paths[e.Base]
		if path == "" {
			continue // missed while it was renamed, or gone
		}
		b.mu.Lock()
		b.noteOne(e.Base, path)
		b.mu.Unlock()
		if err := fn(&e, path); !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return fmt.Errorf("UID=%d: %s: %w", uid, b.opt.Dir.File(curName+"/"+e.Base), ErrNotExist)
}

// A File is the open file of a message.
type File struct {
	f     *os.File
	st    unix.Stat_t
	entry Entry
	sizes bool // those in names and fields may be used
	opt   *Options
}

// Open opens the file of a message. ErrNotExist.
func (b *Box) Open(uid uint32, guess Info) (*File, error) {
	f := &File{sizes: !b.opt.IgnoreSizes, opt: &b.opt}
	err := b.with(uid, guess, func(e *Entry, path string) error {
		fd, st, err := b.openFile(path)
		if err != nil {
			return err
		}
		f.st = st
		f.f, f.entry = os.NewFile(uintptr(fd), b.opt.Dir.File(path)), *e
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Size returns the size of the message as it is stored.
func (f *File) Size() int64 { return f.st.Size }

// ReadAt reads from the message.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// File returns the file and where the message begins in it.
func (f *File) File() (file *os.File, offset int64) { return f.f, 0 }

// Received returns the INTERNALDATE.
func (f *File) Received() time.Time { return time.Unix(f.st.Mtim.Unix()) }

// Saved returns when the file came to where it is.
func (f *File) Saved() time.Time { return time.Unix(f.st.Ctim.Unix()) }

// Entry returns what the uidlist has of the message.
func (f *File) Entry() *Entry { return &f.entry }

// VirtualSize returns the size of the text, which Text returned, with every line end counted as
// CRLF. What name or uidlist say counts only if they are right about the size, if they tell
// that.
func (f *File) VirtualSize(t Text) (int64, error) {
	if v, ok := f.entry.virtualSize(t.Size()); ok && f.sizes {
		return v, nil
	}
	buf := make([]byte, 32<<10)
	size, cr := t.Size(), false
	for off := int64(0); ; {
		n, err := t.ReadAt(buf, off)
		p := buf[:n]
		size += int64(bytes.Count(p, []byte("\n")) - bytes.Count(p, []byte("\r\n")))
		if n > 0 {
			if cr && p[0] == '\n' {
				size--
			}
			cr = p[n-1] == '\r'
		}
		off += int64(n)
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// virtualSize returns what is known of a message of the size.
func (e *Entry) virtualSize(size int64) (v int64, ok bool) {
	if s, ok := SizeIn(e.Base, KeySize); ok && s != size {
		return 0, false
	}
	if v, ok = SizeIn(e.Base, KeyVirtualSize); !ok {
		if s, ok := e.number(KeySize); ok && s != size {
			return 0, false
		}
		v, ok = e.number(KeyVirtualSize)
	}
	return v, ok && v >= size
}

// SetInfo gives the file of a message the flags and keywords that the index has. was is what it had
// before. Locked.
func (b *Box) SetInfo(uid uint32, was, i Info) error {
	return b.with(uid, was, func(e *Entry, path string) error {
		to := curName + "/" + WithInfo(path[4:], i)
		if to != path {
			if err := renameNoReplace(b.opt.Dir.FD, path, to); err != nil {
				return sysError("rename", b.opt.Dir.File(to), err)
			}
		} else if err := unix.Faccessat(b.opt.Dir.FD, path, unix.F_OK, 0); err != nil {
			return err
		}
		b.mu.Lock()
		b.noteOne(e.Base, to)
		b.mu.Unlock()
		return nil
	})
}

// Remove removes the file of a message; it is no error if it is gone. Locked.
func (b *Box) Remove(uid uint32, guess Info) error {
	err := b.with(uid, guess, func(e *Entry, path string) error {
		if err := unix.Unlinkat(b.opt.Dir.FD, path, 0); err != nil {
			return sysError("unlink", b.opt.Dir.File(path), err)
		}
		b.mu.Lock()
		delete(b.odd, e.Base)
		b.mu.Unlock()
		return nil
	})
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	return err
}

// Change runs fn, which calls [Box.SetInfo] and [Box.Remove]. Locked.
func (b *Box) Change(fn func() error) error { return b.own(fn) }

// GiveLetters gives keywords letters, as long as there are any, and names letters that
// were found in file names. It returns the keywords. Locked.
func (b *Box) GiveLetters(names []string, letters uint32) (Keywords, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.keywords
	b.keywords.give(names)
	b.keywords.giveUnknown(letters)
	if b.keywords == was && !b.keysLost {
		return b.keywords, nil
	}
	err := b.writeKeywords()
	if err != nil {
		b.keywords, b.keysLost = was, b.keysLost || was != (Keywords{})
	}
	return b.keywords, err
}

func renameNoReplace(dir int, from, to string) error {
	err := unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system does not know it
		return unix.Renameat(dir, from, dir, to)
	}
	return err
}

// staleTemp is how long a file may stay in tmp.
const staleTemp = 36 * time.Hour

// RemoveStale removes what killed programs left in tmp.
func (b *Box) RemoveStale(now time.Time) error {
	fd, err := b.opt.Dir.Open(tmpName, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return sysError("open", b.tmp.Path, err)
	}
	f := os.NewFile(uintptr(fd), b.tmp.Path)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(b.tmp.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		// A hard link of an old message is not old itself, but its ctime is new.
		if now.Unix()-max(st.Mtim.Sec, st.Ctim.Sec) > int64(staleTemp/time.Second) {
			err = errors.Join(err, b.tmp.Remove(name))
		}
	}
	return err
}

var _ interface {
	io.ReaderAt
	io.Closer
} = (*File)(nil)
