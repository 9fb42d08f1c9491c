package pop3

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dotlock"
)

// lockTimeout is how long a session waits for another one of the same user
// with pop3_lock_session.
const lockTimeout = 10 * time.Second

// locks are the users whose mailbox a session has locked. Sessions of this process wait for each
// other here, for those of other programs at a file.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the lock is free again
}

// lock takes the session lock, if pop3_lock_session asks for it.
func (c *session) lock(ctx context.Context) (unlock func(), ok bool) {
	if !c.set.LockSession {
		return func() {}, true
	}
	timeout := time.NewTimer(lockTimeout)
	defer timeout.Stop()
	user := c.user.Info().Username
	for {
		busy := c.srv.locks.try(user)
		if busy == nil {
			return c.lockFile(ctx, user)
		}
		select {
		case <-busy:
			continue
		case <-timeout.C:
		case <-ctx.Done():
		}
		return c.notLocked(errLocked)
	}
}

// lockFile takes the lock that also other programs respect.
func (c *session) lockFile(ctx context.Context, user string) (unlock func(), ok bool) {
	unlockFile, err := c.user.LockPOP3(ctx)
	if err == nil {
		return func() {
			unlockFile()
			c.srv.locks.release(user)
		}, true
	}
	c.srv.locks.release(user)
	if errors.Is(err, dotlock.ErrTimeout) {
		return c.notLocked(errLocked)
	}
	c.log.Errorf("pop3_lock_session: %v", err)
	return c.notLocked(errNoLock)
}

// notLocked ends a session that did not get the lock.
func (c *session) notLocked(reply string) (unlock func(), ok bool) {
	c.end(reply, endLocked)
	c.out.flush() //nolint:errcheck // the session is over
	return nil, false
}

// try takes the user's lock, or returns what is closed when it is released.
func (l *locks) try(user string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if busy, ok := l.held[user]; ok {
		return busy
	}
	if l.held == nil {
		l.held = make(map[string]chan struct{})
	}
	l.held[user] = make(chan struct{})
	return nil
}

func (l *locks) release(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held[user])
	delete(l.held, user)
}
