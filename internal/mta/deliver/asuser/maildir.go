package asuser

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maildir delivers into a Maildir, whose path ends in a slash. Directories that
// are missing are made.
func (j *job) maildir(content io.Reader, r *result) {
	path, now := j.Paths[0], time.Now()
	tmp := fmt.Sprintf("%stmp/%d.P%d.%s", path, now.Unix(), os.Getpid(), j.Host)
	fd, err := createIn(path+"tmp/", tmp)
	if err != nil {
		j.maildirFailed("create maildir file "+tmp, err, r)
		return
	}
	defer func() {
		if err := unix.Unlink(tmp); err != nil {
			r.warnf("remove %s: %s", tmp, reason(err))
		}
	}()
	name, err := j.writeMessage(fd, content, now, r)
	if err != nil {
		return
	}
	if err := linkInto(path, tmp, path+"new/"+name); err != nil {
		j.maildirFailed("create maildir file "+path+"new/"+name, err, r)
	}
}

func createIn(dir, name string) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC
	fd, err := unix.Open(name, flags, 0o600)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if err := makeDirectories(dir); err != nil {
		return -1, err
	}
	return unix.Open(name, flags, 0o600)
}

// writeMessage writes the message and syncs it; name is what it is called in new/.
func (j *job) writeMessage(fd int, content io.Reader, now time.Time, r *result) (name string, err error) {
	f := os.NewFile(uintptr(fd), "message")
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		copyFailed(err, r)
		return "", err
	}
	name = fmt.Sprintf("%d.V%xI%xM%d.%s", now.Unix(), st.Dev, st.Ino, now.Nanosecond()/1000, j.Host)
	err = j.Copy.Write(&limited{fd: fd, limit: j.Limit}, content, now)
	if err == nil {
		err = unix.Fsync(fd)
	}
	if err != nil {
		copyFailed(err, r)
	}
	return name, err
}

// linkInto gives the message its name in new/ and makes that durable.
func linkInto(path, tmp, name string) error {
	err := unix.Link(tmp, name)
	if errors.Is(err, unix.ENOENT) {
		if err = errors.Join(makeDirectories(path+"cur/"), makeDirectories(path+"new/")); err == nil {
			err = unix.Link(tmp, name)
		}
	}
	if err != nil {
		return err
	}
	dir, err := unix.Open(path+"new/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // it may not be readable: as durable as the file system has it
	}
	defer unix.Close(dir)
	return unix.Fsync(dir)
}

func (j *job) maildirFailed(what string, err error, r *result) {
	r.fail(mailboxDSN(err, j.DSN), what+": "+reason(err))
	r.Errno = int(errno(err))
}

// makeDirectories makes a directory and those above it that are missing, for
// their owner only.
func makeDirectories(path string) error {
	for at := 1; ; {
		n := strings.IndexByte(path[at:], '/')
		if n < 0 {
			return nil
		}
		at += n
		dir := path[:at]
		at++
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdir(dir, 0o700); errors.Is(err, unix.EEXIST) {
				err = unix.Stat(dir, &st)
			} else if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return unix.ENOTDIR
		}
	}
}
