package store

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dotlock"
)

// As in Dovecot: how long a POP3 session waits for the lock, and when one counts as left behind.
const (
	pop3LockTimeout = 10 * time.Second
	pop3LockStale   = 5 * time.Minute
)

// LockPOP3 takes the lock dovecot-pop3-session.lock beside the index files of INBOX, which one POP3
// session may hold, of whatever server. A [dotlock.ErrTimeout] says that another has it.
func (u *User) LockPOP3(ctx context.Context) (unlock func(), err error) {
	for _, ns := range u.namespaces {
		if !ns.Inbox {
			continue
		}
		dir := ns.st.listRoot()
		if err := ns.ensure(dir); err != nil {
			return nil, err
		}
		lock, err := dotlock.Take(ctx, filepath.Join(dir, "dovecot-pop3-session"), dotlock.Options{Timeout: pop3LockTimeout, Stale: pop3LockStale})
		if err != nil {
			return nil, err
		}
		return keepTouched(lock), nil
	}
	return nil, errors.New("there is no INBOX")
}

// keepTouched keeps others from taking a lock for left behind, until it is released.
func keepTouched(lock *dotlock.Lock) (release func()) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(pop3LockStale / 2)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				lock.Touch()
			case <-ctx.Done():
				lock.Release()
				return
			}
		}
	}()
	return func() {
		stop()
		<-done
	}
}
