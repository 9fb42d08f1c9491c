package mail

import (
	"context"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/hibernate"
	"github.com/dovetail-mail/dovetail/internal/mda/imap"
)

// A sleeper is an IMAP session that hibernates: no goroutine is its own. It is woken once, by whatever comes first:
// input, a change of its mailbox, doveadm kick or the server's end.
type sleeper struct {
	*session
	asleep *imap.Asleep
	told   atomic.Bool // to end

	mu    sync.Mutex
	awake bool
	wait  *hibernate.Wait
	timer *time.Timer // until the client is told that the server is there; nil if it never is
}

// keepAliveTimeout is how long a client that hibernates may take to accept a line.
const keepAliveTimeout = 5 * time.Second

// hibernate has the session wait without a goroutine. It returns at once.
func (s *session) hibernate(asleep *imap.Asleep) {
	sl := &sleeper{session: s, asleep: asleep}
	sl.mu.Lock() // until all is set up
	defer sl.mu.Unlock()
	wait, err := s.m.waiter.Add(s.conn.(syscall.Conn), func() { go sl.wake((*sleeper).heard) })
	if err != nil { // out of descriptors: the session goes on as it was
		s.m.log.Warningf("imap: cannot hibernate: %v", err)
		go sl.wake((*sleeper).resume)
		return
	}
	sl.wait = wait
	cancel, over := s.m.running.replace(s.login.ID, sl.tell)
	if over || s.ctx.Err() != nil {
		sl.tell()
	}
	cancel()
	s.ctx = nil // it costs something, as does what only the beginning of the session needed
	s.login.Login.AuthCookie, s.login.Login.Input, s.login.Login.ClientID = "", nil, nil
	if every, _ := asleep.KeepAlive(); every > 0 {
		sl.timer = time.AfterFunc(every, sl.keepAlive)
	}
	asleep.Notify(func() { go sl.wake((*sleeper).resume) })
	s.m.tidy.slept()
}

// wake ends the sleep, unless it has ended, and goes on with the session.
func (sl *sleeper) wake(goOn func(*sleeper)) {
	defer sl.m.recover(sl.login)
	sl.mu.Lock()
	slept := !sl.awake
	sl.awake = true
	sl.mu.Unlock()
	if !slept {
		return
	}
	if sl.wait != nil {
		sl.wait.Cancel()
	}
	if sl.timer != nil {
		sl.timer.Stop()
	}
	goOn(sl)
}

// tell has the session end.
func (sl *sleeper) tell() {
	sl.told.Store(true)
	go sl.wake((*sleeper).stop)
}

// resume has the session go on.
func (sl *sleeper) resume() {
	ctx, cancel := context.WithCancel(sl.m.ctx)
	if _, over := sl.m.running.replace(sl.login.ID, cancel); over || sl.told.Load() {
		cancel()
	}
	sl.ctx = ctx
	sl.run(sl.asleep)
}

// heard looks at what the client has done: without a user if it has gone.
func (sl *sleeper) heard() {
	if err := gone(sl.conn.(syscall.Conn)); err != nil {
		sl.asleep.Gone(sl.conn, &sl.login.User, err)
		sl.end()
		return
	}
	sl.resume()
}

// gone returns what ended the connection, nil if there is input.
func gone(conn syscall.Conn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var readErr error
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, readErr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	switch {
	case err != nil:
		return err
	case readErr == unix.EAGAIN || readErr == unix.EINTR:
		return nil
	case readErr != nil:
		return readErr
	case n == 0:
		return io.EOF
	}
	return nil
}

// stop ends the session because the server stops, or has been told to end it.
func (sl *sleeper) stop() {
	sl.asleep.Stop(sl.conn, &sl.login.User)
	sl.end()
}

// keepAlive tells the client that the server is there. It ends the session of a client that does not take that.
func (sl *sleeper) keepAlive() {
	sl.mu.Lock()
	if sl.awake {
		sl.mu.Unlock()
		return
	}
	every, text := sl.asleep.KeepAlive()
	sl.conn.SetWriteDeadline(time.Now().Add(keepAliveTimeout)) //nolint:errcheck // the write fails then, too
	n, err := io.WriteString(sl.conn, text)
	sl.asleep.Sent(n)
	if err == nil {
		sl.timer.Reset(every)
	}
	sl.mu.Unlock()
	if err != nil {
		sl.wake(func(sl *sleeper) {
			sl.asleep.Gone(sl.conn, &sl.login.User, err)
			sl.end()
		})
	}
}

// A tidier gives memory back to the system that sessions have needed which hibernate now: without it that would take
// minutes.
type tidier struct {
	mu    sync.Mutex
	count int         // sessions that have begun to hibernate since
	timer *time.Timer // nil while none has
}

// tidyDelay is how long after a session has begun to hibernate there is a look at the memory: by then its mailbox is no longer
// kept ready for others. tidyCount is how many sessions are worth the work.
const (
	tidyDelay = 30 * time.Second
	tidyCount = 100
)

func (t *tidier) slept() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	if t.timer == nil {
		t.timer = time.AfterFunc(tidyDelay, t.tidy)
	}
}

func (t *tidier) tidy() {
	t.mu.Lock()
	worth := t.count >= tidyCount
	t.count, t.timer = 0, nil
	t.mu.Unlock()
	if worth {
		debug.FreeOSMemory()
	}
}
