// Package postlock is postlock(1): it runs a command while it holds the locks of a
// mailbox file, as the delivery agents take them (mailbox_delivery_lock).
package postlock

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
)

// Settings are the parameters of postlock(1).
type Settings struct {
	Style    string        `set:"mailbox_delivery_lock" nonempty:"yes" doc:"how mailbox files are locked: fcntl, flock, dotlock"`
	Attempts int           `set:"deliver_lock_attempts" default:"20" min:"1" doc:"tries to lock a mailbox file"`
	Delay    time.Duration `set:"deliver_lock_delay" default:"1s" unit:"s" min:"1" doc:"time between tries to lock a mailbox file"`
	Stale    time.Duration `set:"stale_lock_time" default:"500s" unit:"s" min:"1" doc:"age at which a lock file is removed"`
}

var _ = postfix.Register("postlock", Settings{})

// exitTempFail says that the file could not be locked: EX_TEMPFAIL of sysexits(3).
const exitTempFail = 75

// Main is postlock(1).
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := &getopt.Command{Name: "postlock", Exit: exitTempFail, Stderr: stderr}
	dir, style := getopt.ConfigDirectory(), ""
	rest, ok := cmd.Options(args, "c:l:v", func(opt byte, value string) {
		switch opt {
		case 'c':
			dir = value
		case 'l':
			style = value
		}
	})
	if !ok || len(rest) < 2 {
		return cmd.Fatalf("usage: postlock [-c config_dir] [-l lock_style] [-v] folder command...")
	}
	main, err := postfix.Load(dir)
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	set, err := postfix.Get[Settings](main)
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	if style == "" {
		style = set.Style
	}
	l, err := newLock(rest[0], style, set)
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	if err := l.take(); err != nil {
		return cmd.Fatalf("open file %s: %v", rest[0], err)
	}
	defer l.release()
	return run(cmd, rest[1:], stdin, stdout)
}

// run runs the command and returns its exit status.
func run(cmd *getopt.Command, args []string, stdin io.Reader, stdout io.Writer) int {
	c := exec.Command(args[0], args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = stdin, stdout, cmd.Stderr
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1) // 1 after a signal
	}
	cmd.Fatalf("execvp %s: %s", args[0], reason(err))
	return 1
}

// A lock is that of one mailbox file.
type lock struct {
	set                *Settings
	path               string
	flock, fcntl, file bool
	f                  *os.File
	made               bool // the lock file
}

func newLock(path, style string, set *Settings) (*lock, error) {
	l := &lock{path: path, set: set}
	for _, word := range postfix.SplitList(style) {
		switch strings.ToLower(word) {
		case "flock":
			l.flock = true
		case "fcntl":
			l.fcntl = true
		case "dotlock":
			l.file = true
		default:
			return nil, fmt.Errorf("unknown mailbox_delivery_lock value \"%s\" in \"%s\"", word, style)
		}
	}
	return l, nil
}

// take takes all locks, or none.
func (l *lock) take() error {
	if info, err := os.Stat(l.path); l.file && (err != nil || info.Mode().IsRegular()) {
		if err := l.makeFile(); err != nil {
			return err
		}
	}
	err := l.open()
	if err != nil {
		l.release()
	}
	return err
}

// open opens the mailbox, which is made where it is missing, and locks it.
func (l *lock) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("cannot create file exclusively: %s", reason(err))
		}
	}
	if err != nil {
		return fmt.Errorf("cannot open file: %s", reason(err))
	}
	l.f = f
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	if l.flock {
		if err := l.try(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
			return err
		}
	}
	if l.fcntl {
		whole := unix.Flock_t{Type: unix.F_WRLCK}
		return l.try(func() error { return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &whole) })
	}
	return nil
}

func (l *lock) try(take func() error) error {
	for n := 1; ; n++ {
		err := take()
		if err == nil {
			return nil
		}
		if n >= l.set.Attempts {
			return fmt.Errorf("unable to lock for exclusive access: %s", reason(err))
		}
		l.pause()
	}
}

// makeFile makes the lock file. One that is too old has nobody any more.
func (l *lock) makeFile() error {
	name := l.path + ".lock"
	for n := 1; ; n++ {
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_EXCL|unix.O_CREAT|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd) //nolint:errcheck // nothing was written
			l.made = true
			return nil
		}
		if n >= l.set.Attempts || err != unix.EEXIST {
			return fmt.Errorf("unable to create lock file %s: %s", name, reason(err))
		}
		var st unix.Stat_t
		if unix.Stat(name, &st) == nil && time.Since(time.Unix(st.Ctim.Unix())) > l.set.Stale {
			if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("unable to create lock file %s: %s", name, reason(err))
			}
		}
		l.pause()
	}
}

// pause waits about as long as the configuration says, so that two who wait do not
// meet again and again.
func (l *lock) pause() {
	time.Sleep(l.set.Delay*3/4 + time.Duration(rand.Int64N(int64(l.set.Delay)/2+1)))
}

func (l *lock) release() {
	if l.f != nil {
		l.f.Close() //nolint:errcheck // nothing was written
	}
	if l.made {
		os.Remove(l.path + ".lock") //nolint:errcheck // it becomes stale
	}
}

// reason is the text of a system error as strerror(3) has it.
func reason(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
