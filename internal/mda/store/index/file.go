package index

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Names of the files in the index directory.
const (
	IndexName  = "dovecot.index"
	BackupName = "dovecot.index.backup"
	LogName    = "dovecot.index.log"
	Log2Name   = "dovecot.index.log.2"
	CacheName  = "dovecot.index.cache"
)

// names are those of the files of one index.
type names struct{ index, backup, log, log2, cache, tmp, newLock string }

func namesFor(base string) *names {
	return &names{base, base + ".backup", base + ".log", base + ".log.2", base + ".cache", base + ".tmp", base + ".log.newlock"}
}

var mailboxNames = namesFor(IndexName)

// A Dir is an open directory, with the permissions that files in it get. It
// stays usable when the directory is renamed.
type Dir struct {
	Path string // by which it was opened
	FD   int
	Mode uint32 // of new files
	GID  int    // of new files; -1 to leave it to the system

	dev, ino uint64
}

// OpenDir opens a directory. Files in it are as accessible as it is, without
// the execute bits.
func OpenDir(path string) (*Dir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("open(%s): %w", path, ErrNotExist)
	}
	if err != nil {
		return nil, sysError("open", path, err)
	}
	d := &Dir{Path: path, FD: fd, GID: -1}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, sysError("fstat", path, err)
	}
	d.dev, d.ino = st.Dev, st.Ino
	d.Mode = st.Mode&0o666 | 0o600
	if d.Mode&0o060 != 0 && st.Mode&unix.S_ISGID == 0 && int(st.Gid) != unix.Getegid() {
		d.GID = int(st.Gid)
	}
	return d, nil
}

// Close closes the directory.
func (d *Dir) Close() { unix.Close(d.FD) }

// Is tells whether st is of this directory.
func (d *Dir) Is(st *unix.Stat_t) bool { return st.Ino == d.ino && st.Dev == d.dev }

// File returns the path of a file in it, for messages.
func (d *Dir) File(name string) string { return d.Path + "/" + name }

// Open opens a file. It does not wait for anybody, whatever is there.
func (d *Dir) Open(name string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Openat(d.FD, name, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, d.Mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// Create makes a file that must not exist and gives it the directory's
// permissions.
func (d *Dir) Create(name string) (fd int, err error) {
	fd, err = d.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR)
	if err != nil {
		return -1, err
	}
	if d.Mode != 0o600 { // else umask cannot have taken anything that matters
		err = unix.Fchmod(fd, d.Mode)
	}
	if err == nil && d.GID >= 0 {
		err = unix.Fchown(fd, -1, d.GID)
	}
	if err != nil {
		unix.Close(fd)
		d.Remove(name)
		return -1, err
	}
	return fd, nil
}

// Remove removes a file; it is no error if there is none. A directory of that name is
// set aside.
func (d *Dir) Remove(name string) error {
	err := unix.Unlinkat(d.FD, name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = d.SetAside(name)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return sysError("unlink", d.File(name), err)
	}
	return nil
}

// Rename renames a file within the directory. A directory of that name is set aside.
func (d *Dir) Rename(from, to string) error {
	err := unix.Renameat(d.FD, from, d.FD, to)
	if errors.Is(err, unix.EISDIR) {
		if err = d.SetAside(to); err == nil {
			err = unix.Renameat(d.FD, from, d.FD, to)
		}
	}
	if err != nil {
		return sysError("rename", d.File(to), err)
	}
	return nil
}

// Stat returns what fstatat(2) says.
func (d *Dir) Stat(name string, st *unix.Stat_t) error {
	return unix.Fstatat(d.FD, name, st, 0)
}

// WriteAll writes b at the end or current position.
func WriteAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// ReadAt fills b from the file, as far as there is something.
func ReadAt(fd int, b []byte, off int64) (n int, err error) {
	for n < len(b) {
		m, err := unix.Pread(fd, b[n:], off+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}
