package index

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// brokenSuffix is what the name of something gets that is in the way.
const brokenSuffix = ".broken"

// SetAside renames what has the name of one of our files and cannot be used: a directory,
// or a file that somebody else owns.
func (d *Dir) SetAside(name string) error {
	const tries = 100
	to := name + brokenSuffix
	for n := 2; ; n++ {
		err := unix.Renameat2(d.FD, name, d.FD, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system does not know it
			err = unix.Renameat(d.FD, name, d.FD, to)
		}
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EEXIST) || n > tries:
			return sysError("rename", d.File(to), err)
		}
		to = fmt.Sprintf("%s%s.%d", name, brokenSuffix, n)
	}
}

// Regain makes a file of ours accessible that is not. It reports whether that was all that was wrong.
func (d *Dir) Regain(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(d.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		st.Mode&unix.S_IFMT == unix.S_IFREG && int(st.Uid) == unix.Geteuid() && st.Mode&0o600 != 0o600 &&
		unix.Fchmodat(d.FD, name, d.Mode, 0) == nil
}

// Unusable tells whether err, of opening a file, says that this will not do either the
// next time: there is something else of that name, or, in a directory of our own, a file that we
// may not open.
func (d *Dir) Unusable(err error) bool {
	for _, e := range [...]unix.Errno{unix.EISDIR, unix.ELOOP, unix.ENXIO, unix.ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	var st unix.Stat_t
	return errors.Is(err, unix.EACCES) && unix.Fstat(d.FD, &st) == nil && int(st.Uid) == unix.Geteuid() && st.Mode&0o300 == 0o300
}

// OpenRegular opens a file that must be a regular one. What says that it will never do is
// ErrDamaged.
func (d *Dir) OpenRegular(name string, flags int) (fd int, st unix.Stat_t, err error) {
	fd, err = d.Open(name, flags)
	if errors.Is(err, unix.EACCES) && d.Regain(name) {
		fd, err = d.Open(name, flags)
	}
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOENT):
		return -1, st, ErrNotExist
	case d.Unusable(err):
		return -1, st, damaged("open(%s): %w", d.File(name), err)
	default:
		return -1, st, sysError("open", d.File(name), err)
	}
	if err = unix.Fstat(fd, &st); err != nil {
		err = sysError("fstat", d.File(name), err)
	} else if st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = damaged("%s is not a regular file", d.File(name))
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}
