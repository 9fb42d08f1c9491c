package asuser

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// An openError is why a mailbox file cannot be opened.
type openError struct {
	text  string
	code  syscall.Errno
	chown bool // the file was made but could not be given away: a warning
}

func (e *openError) Error() string { return e.text }
func (e *openError) Unwrap() error { return e.code }

func openFailed(what string, code error) *openError {
	return &openError{text: what + ": " + reason(code), code: errno(code)}
}

const appendFlags = unix.O_APPEND | unix.O_WRONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// openAppend opens a file to append to, or makes it, as Postfix's safe_open(3)
// does: a file with several names, a symbolic link that is not root's in a
// directory of root's, and what changes meanwhile are refused, so that nobody can
// lead mail to a file of somebody else.
func openAppend(path string, chown *[2]uint32) (*os.File, *unix.Stat_t, error) {
	f, st, err := openExisting(path)
	if err == nil || err.code != unix.ENOENT {
		return f, st, orNil(err)
	}
	f, st, err = create(path, chown)
	if err != nil && err.code == unix.EEXIST {
		f, st, err = openExisting(path)
	}
	return f, st, orNil(err)
}

func orNil(err *openError) error {
	if err == nil {
		return nil
	}
	return err
}

func openExisting(path string) (*os.File, *unix.Stat_t, *openError) {
	fd, err := unix.Open(path, appendFlags, 0)
	if err != nil {
		return nil, nil, openFailed("cannot open file", err)
	}
	f := os.NewFile(uintptr(fd), path)
	st, bad := checkOpened(fd, path)
	if bad != nil {
		f.Close()
		return nil, nil, bad
	}
	return f, st, nil
}

// checkOpened sees to it that the file is what its name means, and has no other name.
func checkOpened(fd int, path string) (*unix.Stat_t, *openError) {
	var opened, named unix.Stat_t
	if err := unix.Fstat(fd, &opened); err != nil {
		return nil, openFailed("file status cannot be read", err)
	}
	if opened.Nlink != 1 {
		return nil, &openError{text: fmt.Sprintf("file has %d hard links", opened.Nlink), code: unix.EPERM}
	}
	if opened.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil, &openError{text: "file is a directory", code: unix.EISDIR}
	}
	err := unix.Lstat(path, &named)
	switch {
	case err != nil:
		bad := openFailed("file status changed unexpectedly", err)
		bad.code = unix.EPERM
		return nil, bad
	case named.Mode&unix.S_IFMT == unix.S_IFLNK:
		if named.Uid == 0 && rootsOwn(filepath.Dir(path)) {
			return &opened, nil
		}
		return nil, &openError{text: "file is a symbolic link", code: unix.EPERM}
	case opened.Dev != named.Dev || opened.Ino != named.Ino || opened.Nlink != named.Nlink || opened.Mode != named.Mode:
		return nil, &openError{text: "file status changed unexpectedly", code: unix.EPERM}
	}
	return &opened, nil
}

// rootsOwn reports whether only root can put links into a directory.
func rootsOwn(dir string) bool {
	var st unix.Stat_t
	return unix.Stat(dir, &st) == nil && st.Uid == 0 && st.Mode&(unix.S_IWGRP|unix.S_IWOTH) == 0
}

func create(path string, chown *[2]uint32) (*os.File, *unix.Stat_t, *openError) {
	fd, err := unix.Open(path, appendFlags|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, openFailed("cannot create file exclusively", err)
	}
	f := os.NewFile(uintptr(fd), path)
	if chown != nil {
		if err := unix.Fchown(fd, int(chown[0]), int(chown[1])); err != nil {
			f.Close()
			return nil, nil, &openError{text: fmt.Sprintf("%s: cannot change file ownership: %s", path, reason(err)), code: errno(err), chown: true}
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, nil, openFailed("file status cannot be read", err)
	}
	return f, &st, nil
}
