package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp/logprefix"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Config is what a [Server] needs.
type Config struct {
	Dovecot *dovecot.Config
	Pool    *mailbox.Pool
	Log     *maillog.Logger
}

// A Server serves sessions after login. It is safe for concurrent use.
type Server struct {
	cfg    Config
	set    *Settings // outside local and remote blocks
	prefix *logprefix.Settings
	locks  locks
}

// NewServer returns a server. It reports settings that no session could use.
func NewServer(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg}
	f := dovecot.Filter{Service: "pop3"}
	var err error
	if s.set, err = dovecot.Get[Settings](cfg.Dovecot, f); err != nil {
		return nil, err
	}
	if s.prefix, err = dovecot.Get[logprefix.Settings](cfg.Dovecot, f); err != nil {
		return nil, err
	}
	return s, s.set.check()
}

// check verifies what types cannot say.
func (set *Settings) check() error {
	if _, err := set.workarounds(); err != nil {
		return err
	}
	if set.DeleteType == "flag" && set.DeletedFlag == "" {
		return errors.New("pop3_delete_type=flag, but pop3_deleted_flag not set")
	}
	_, err := parseUIDLFormat(set.UIDLFormat)
	return err
}

// Serve runs the session of an authenticated client to its end and closes conn.
// When ctx ends, the client is sent away after the command under way.
func (s *Server) Serve(ctx context.Context, conn net.Conn, h handoff.Login, user *store.User) {
	defer conn.Close()
	info := *user.Info()
	info.Service, info.SessionID = "pop3", h.Session
	log := s.cfg.Log.With(s.prefix.Tag(&info))
	defer func() {
		if p := recover(); p != nil {
			log.Print(maillog.Panic, fmt.Sprintf("%v\n%s", p, debug.Stack()))
		}
	}()
	set, err := dovecot.Get[Settings](user.Config(), dovecot.Filter{
		Service: "pop3", Local: h.Local.Addr(), Remote: h.Remote.Addr(), LocalName: h.LocalName,
	})
	if err == nil {
		err = set.check() // the userdb may have changed them
	}
	if err != nil {
		log.Errorf("Error reading configuration: %v", err)
		io.WriteString(conn, "-ERR [SYS/TEMP] "+textInternal+"\r\n") //nolint:errcheck // it is closed either way
		return
	}
	c := &session{srv: s, set: set, log: log, conn: conn, user: user, id: h.Session}
	c.workarounds, _ = set.workarounds() // checked
	c.run(ctx, h.Input)
	conn.Close() // the client need not wait
	user.AutoExpunge(context.WithoutCancel(ctx))
}
