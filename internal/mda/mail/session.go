package mail

import (
	"context"
	"net"

	"github.com/dovetail-mail/dovetail/internal/mda/imap"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// A session is one connection that this process serves, from its login to its end.
type session struct {
	m     *process
	conn  net.Conn
	login *Login
	set   *servers
	ctx   context.Context // ends when the session must
	free  func()          // gives back what the session counts as of its user
}

// session serves one connection to its end, or until it hibernates.
func (m *process) session(conn net.Conn, login *Login, set *servers, release func()) {
	(&session{m: m, conn: conn, login: login, set: set, ctx: m.running.begin(m.ctx, login.ID), free: release}).run(nil)
}

// run serves the session, which has hibernated unless asleep is nil.
func (s *session) run(asleep *imap.Asleep) {
	if asleep = s.serve(asleep); asleep != nil {
		s.hibernate(asleep)
		return
	}
	s.end()
}

// end is the end of the connection, of which the master is told.
func (s *session) end() {
	s.conn.Close()
	s.free()
	s.m.running.end(s.login.ID)
	s.m.p.Control.Send(KindEnded, Ended{ID: s.login.ID}) //nolint:errcheck // without master the process ends, too
	s.m.finished()
}

// serve opens the user and has the protocol serve the session. It returns what is left of one that hibernates,
// else nil.
func (s *session) serve(asleep *imap.Asleep) *imap.Asleep {
	defer s.m.recover(s.login)
	info, service := s.login.User, s.login.Login.Service
	info.Restored = asleep != nil
	log := s.m.log.With(s.set.prefix[service].Tag(&info))
	user, err := store.OpenUser(s.m.ctx, s.set.cfg, info, s.m.pool, log)
	if err != nil {
		log.Errorf("%v", err)
		refuse(s.conn, &s.login.Login, "Internal error occurred. Refer to server log for more information.")
		return nil
	}
	defer user.Close()
	user.LookUpOwners(s.m.owners.lookup(s.set.userdb, service, s.m.log))
	if asleep != nil {
		return asleep.Resume(s.ctx, s.conn, user)
	}
	s.conn = recorded(s.conn, &s.login.Login, user, log)
	if service == "imap" {
		return s.set.imap.Serve(s.ctx, s.conn, s.login.Login, user)
	}
	s.set.pop3.Serve(s.ctx, s.conn, s.login.Login, user)
	return nil
}
