package imap

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// hibernateLog is what log lines call the service of sessions that end while they hibernate, as Dovecot's process
// does.
const hibernateLog = "imap-hibernate"

// An Asleep is a session that hibernates: it has been in IDLE for imap_hibernate_timeout and has given up its
// mailbox, its user, its buffers and its goroutine. Whoever runs the sessions keeps the connection, waits for
// input and for [Asleep.Notify], and then has the session go on with [Asleep.Resume], or end.
type Asleep struct {
	srv         *Server
	set         *Settings
	id          string
	enabled     uint8
	bad         int
	in, out     int64
	blocked     time.Duration
	stats       stats
	idle        asleepIdle
	box         *asleepBox // nil: no mailbox is selected
	watches     []*mailbox.FileWatch
	mu          sync.Mutex
	changed     bool // the mailbox may have
	wake        func()
	interrupted bool // wake was called
}

// asleepIdle is what the log and the answer to DONE need of the IDLE command.
type asleepIdle struct {
	tag     string
	started time.Time
	blocked time.Duration
	in, out int64
}

// hibernationDue tells whether the session has waited long enough and nothing is left to do.
func (s *session) hibernationDue() bool {
	return s.bye == "" && s.ended == nil && s.idling != nil && !s.idling.hibernate.IsZero() && !time.Now().Before(s.idling.hibernate) &&
		s.pending == 0 && len(s.dec.Buffered()) == 0 && !s.stopping.Load()
}

// hibernate makes what is left of the session s.asleep, if it can: NOTIFY, searches that are kept up to date,
// compression, and flags that users have for themselves need the session to be there. As in Dovecot it is not tried
// again before the mailbox changes or another IDLE begins.
func (s *session) hibernate() {
	s.idling.hibernate = time.Time{}
	if s.raw == nil || s.deflated != nil || s.notified != nil {
		return
	}
	i := s.idling
	a := &Asleep{
		srv: s.srv, set: s.set, id: s.id, enabled: s.enabled, bad: s.bad, in: s.conn.in, out: s.conn.out, blocked: s.conn.blocked, stats: s.stats,
		idle: asleepIdle{tag: i.tag, started: i.started, blocked: i.command.blocked, in: i.command.in, out: i.command.out},
	}
	if s.box != nil && !s.hibernateBox(a) {
		a.unwatch()
		return
	}
	i.stop()
	s.idling = nil
	s.unselect()
	s.dec.Discard()
	s.asleep = a
}

// tell is called when the mailbox has changed.
func (a *Asleep) tell(string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed = true
	a.interrupt()
}

// Notify has wake called, once, when the mailbox may have changed, which may be now. wake must not block.
func (a *Asleep) Notify(wake func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wake = wake
	if a.changed {
		a.interrupt()
	}
}

func (a *Asleep) interrupt() {
	if a.wake != nil && !a.interrupted {
		a.interrupted = true
		a.wake()
	}
}

// unwatch ends looking at the mailbox's files.
func (a *Asleep) unwatch() {
	for _, w := range a.watches {
		w.Close()
	}
	a.watches = nil
}

// KeepAlive returns what the client is to be sent while the session hibernates, and how often; 0 for never.
func (a *Asleep) KeepAlive() (every time.Duration, text string) { return a.set.IdleNotify, replyStill }

// Sent counts bytes that the client was sent while the session hibernated.
func (a *Asleep) Sent(n int) { a.out += int64(n) }

// Resume lets the session go on. user is opened anew for it, with [store.UserInfo.Restored]. It is
// [Server.Serve] in all else.
func (a *Asleep) Resume(ctx context.Context, conn net.Conn, user *store.User) *Asleep {
	a.unwatch()
	info := *user.Info()
	s := newSession(ctx, a.srv, conn, a.set, user, a.srv.conf.Log.With(a.srv.prefix.Tag(&info)))
	s.id, s.enabled, s.bad, s.stats, s.greeted = a.id, a.enabled, a.bad, a.stats, true
	s.conn.in, s.conn.out, s.conn.blocked = a.in, a.out, a.blocked
	s.lastName = "IDLE"
	s.idling = &idle{command: command{
		session: s, entry: commandByName["IDLE"], tag: a.idle.tag, started: a.idle.started, blocked: a.idle.blocked, in: a.idle.in, out: a.idle.out,
	}}
	s.idling.keepAlive()
	s.idling.hibernateLater()
	s.returning = a.box
	return s.serve()
}

// Stop ends the session, because the server stops or has been told to.
func (a *Asleep) Stop(conn net.Conn, info *store.UserInfo) {
	text := "* BYE " + byeShutdown + "\r\n"
	conn.SetWriteDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // the connection is closed either way
	n, _ := conn.Write([]byte(text))
	a.Sent(n)
	a.end(conn, info, byeShutdown)
}

// Gone ends the session because of what the connection has answered: [io.EOF] or another error.
func (a *Asleep) Gone(conn net.Conn, info *store.UserInfo, err error) {
	reason := "Connection closed"
	if !errors.Is(err, io.EOF) {
		reason += ": " + syscallText(err)
	}
	a.end(conn, info, reason)
}

// end logs the end of the session.
func (a *Asleep) end(conn net.Conn, info *store.UserInfo, reason string) {
	a.unwatch()
	conn.Close()
	as := *info
	as.Service = hibernateLog
	s := session{set: a.set, id: a.id, stats: a.stats, bye: reason, log: a.srv.conf.Log.With(a.srv.prefix.Tag(&as))}
	s.conn.in, s.conn.out = a.in, a.out
	s.logout()
}
