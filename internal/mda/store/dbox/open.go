package dbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// openFile opens a mail file for reading. ErrNotExist; ErrCorrupt for what is no file. What
// we may not read is neither.
func openFile(dir *index.Dir, name string) (fd int, err error) {
	fd, err = dir.Open(name, unix.O_RDONLY)
	if errors.Is(err, unix.EACCES) && dir.Regain(name) {
		fd, err = dir.Open(name, unix.O_RDONLY)
	}
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.ENOENT):
		var st unix.Stat_t
		if unix.Fstatat(dir.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return -1, corrupt("open(%s): symlink to nothing", dir.File(name))
		}
		return -1, fmt.Errorf("open(%s): %w", dir.File(name), ErrNotExist)
	case !errors.Is(err, unix.EACCES) && dir.Unusable(err):
		return -1, corrupt("open(%s): %w", dir.File(name), err)
	}
	return -1, sysError("open", dir.File(name), err)
}

// IsFile tells whether an open descriptor is one of a regular file. ErrCorrupt.
func IsFile(st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return corrupt("not a regular file")
	}
	return nil
}
