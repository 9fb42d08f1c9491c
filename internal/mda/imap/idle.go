package imap

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// idle is a running IDLE command (RFC 2177). The session waits as it does
// between commands; a change of the mailbox wakes it.
type idle struct {
	command
	notify    time.Time // when OK Still here is due; zero for never
	hibernate time.Time // when the session may hibernate; zero for never
	cancel    func()    // of the mailbox's notifications
}

// idle is IDLE. Its arguments are ignored.
func (c *command) idle() error {
	if err := c.write(replyIdling); err != nil {
		return err
	}
	i := &idle{command: *c}
	i.keepAlive()
	i.hibernateLater()
	if c.box != nil {
		i.cancel = c.box.mbox.Notify(c.wake)
	}
	c.session.idling = i
	c.noReply = true
	return nil
}

// keepAlive sets when the next OK Still here is due.
func (i *idle) keepAlive() {
	if d := i.set.IdleNotify; d > 0 {
		i.notify = time.Now().Add(d)
	}
}

// crowdedHibernate is how long a session is in IDLE before it hibernates when descriptors are scarce.
const crowdedHibernate = time.Second

// hibernateLater sets when the session may hibernate: when nothing has happened for some time.
func (i *idle) hibernateLater() {
	d := i.set.HibernateTimeout
	if d <= 0 {
		return
	}
	if crowded := i.srv.conf.Crowded; crowded != nil && crowded() {
		d = min(d, crowdedHibernate)
	}
	i.hibernate = time.Now().Add(d)
}

// due returns when something is to be done without input, the zero time for never.
func (i *idle) due() time.Time {
	if i.notify.IsZero() || !i.hibernate.IsZero() && i.hibernate.Before(i.notify) {
		return i.hibernate
	}
	return i.notify
}

// idleStillHere keeps connection trackers on the way from forgetting the
// connection.
func (s *session) idleStillHere() {
	if s.idling.notify.IsZero() || time.Now().Before(s.idling.notify) {
		return
	}
	s.write(replyStill)
	s.idling.keepAlive()
}

// idleSync tells what has changed. In IDLE everything may be told at any time.
func (s *session) idleSync() {
	if s.box == nil {
		return
	}
	before := s.box.view
	err := s.syncBox(syncFull, nil)
	if err == nil && s.bye == "" {
		err = s.tellHighestModSeq()
	}
	if err != nil {
		s.disconnected(err)
	}
	if s.box.view != before {
		s.idling.hibernateLater()
	}
}

// idleInput reads the line that ends IDLE.
func (s *session) idleInput() error {
	line, err := s.dec.Line()
	if err != nil {
		if _, ok := err.(*imapwire.Error); !ok {
			return err
		}
		line = nil
	}
	i := s.idling
	s.idling = nil
	i.stop()
	c := &i.command
	s.conn.blocked += time.Since(c.started)
	s.lastDone = time.Now()
	if err == nil && imapwire.EqualFold(line, "DONE") {
		if s.box != nil {
			if err := s.syncBox(syncFull, nil); err != nil || s.bye != "" {
				return err
			}
			c.code = s.highestModSeq()
		}
		return c.tagged("OK ", c.code, c.done)
	}
	if err != nil {
		if err := s.dec.EndLine(); err != nil {
			return err
		}
	}
	c.tagged(condBad, "", "Expected DONE.")
	return c.countBad()
}

// stop ends the notifications. i may be nil.
func (i *idle) stop() {
	if i != nil && i.cancel != nil {
		i.cancel()
	}
}
