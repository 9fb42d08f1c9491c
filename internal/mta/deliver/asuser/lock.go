package asuser

import (
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pause waits between tries to lock, some more or less so that two who wait for
// each other do not meet again.
func (l *Locks) pause() {
	time.Sleep(l.Delay + time.Duration(rand.Int64N(int64(l.Delay)/2+1)) - l.Delay/4)
}

// dotLock makes path.lock.
func (l *Locks) dotLock(path string) error {
	name := path + ".lock"
	for try := 1; ; try++ {
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_EXCL|unix.O_CREAT|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			return nil
		}
		if try >= l.Attempts || !errors.Is(err, unix.EEXIST) {
			return openFailed("unable to create lock file "+name, err)
		}
		var st unix.Stat_t
		if unix.Stat(name, &st) == nil && time.Since(time.Unix(st.Ctim.Unix())) > l.Stale {
			if err := unix.Unlink(name); err != nil && !errors.Is(err, unix.ENOENT) {
				return openFailed("unable to create lock file "+name, err)
			}
		}
		l.pause()
	}
}

func dotUnlock(path string) {
	unix.Unlink(path + ".lock") //nolint:errcheck // it goes stale then
}

// kernel locks an open file with fcntl and flock, as asked for.
func (l *Locks) kernel(f *os.File) error {
	if l.Flock {
		if err := l.try(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
			return err
		}
	}
	if l.Fcntl {
		// POSIX locks, of which the process has one per file: it delivers one
		// message at a time.
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		return l.try(func() error { return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock) })
	}
	return nil
}

func (l *Locks) try(lock func() error) error {
	for try := 1; ; try++ {
		err := lock()
		if err == nil {
			return nil
		}
		if try >= l.Attempts {
			bad := openFailed("unable to lock for exclusive access", err)
			if bad.code == unix.EACCES {
				bad.code = unix.EAGAIN // POSIX allows either
			}
			return bad
		}
		l.pause()
	}
}
