package commit

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// A Mode is a value of the setting mail_fsync.
type Mode uint8

// The values of mail_fsync.
const (
	Optimized Mode = iota
	Always
	Never
)

// ParseMode returns the mode with the name.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "optimized", "":
		return Optimized, nil
	case "always":
		return Always, nil
	case "never":
		return Never, nil
	}
	return Optimized, fmt.Errorf("mail_fsync: unknown value %q", s)
}

// Saves tells whether saved, copied and expunged messages are flushed.
func (m Mode) Saves() bool { return m != Never }

// Flags tells whether changes of flags are flushed.
func (m Mode) Flags() bool { return m == Always }

// Data flushes a file's content.
func Data(fd int) error {
	for {
		err := unix.Fdatasync(fd)
		if err != unix.EINTR {
			return err
		}
	}
}

// Dir has the names in a directory on disk. fdatasync(2) may leave out what does not change its size.
func Dir(fd int) error {
	for {
		err := unix.Fsync(fd)
		if err != unix.EINTR {
			return err
		}
	}
}

// All has everything on the file system of fd on disk.
func All(fd int) error {
	for {
		err := unix.Syncfs(fd)
		if err != unix.EINTR {
			return err
		}
	}
}

// Content has a file's content written, on a [Volume] that is ordered. It is durable
// after the next flush of a file that grows after this.
func Content(fd int) error {
	for {
		// With all three flags it is a write for data integrity: no page is left
		// out, and errors are reported.
		err := unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE_AND_WAIT)
		switch err {
		case unix.EINTR:
		case unix.ENOSYS, unix.EPERM: // a filter of system calls does not know it
			return Data(fd)
		default:
			return err
		}
	}
}

// A Group flushes something for all who ask at about the same time. The zero
// value is ready.
type Group struct {
	mu      sync.Mutex
	running bool
	next    *round
}

// A round is one flush and those who wait for it.
type round struct {
	lead chan struct{} // closed when the one who made the round may run it
	done chan struct{}
	err  error
}

// Do returns after a flush that began after the call. One of the callers runs
// it for all; flush must cover what each of them wrote.
func (g *Group) Do(flush func() error) error {
	g.mu.Lock()
	r := g.next
	if r != nil {
		g.mu.Unlock()
		<-r.done
		return r.err
	}
	r = &round{lead: make(chan struct{}), done: make(chan struct{})}
	if g.running {
		g.next = r
		g.mu.Unlock()
		<-r.lead
		g.mu.Lock()
		g.next = nil
	}
	g.running = true
	g.mu.Unlock()

	r.err = flush()

	g.mu.Lock()
	g.running = g.next != nil
	if g.running {
		close(g.next.lead)
	}
	g.mu.Unlock()
	close(r.done)
	return r.err
}
