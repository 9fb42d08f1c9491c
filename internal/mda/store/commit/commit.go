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
