package mail

import (
	"net"
	"os"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/rawlog"
)

// RawlogSettings say where sessions are written down. The userdb may have them for some users only.
type RawlogSettings struct {
	Dir string `set:"rawlog_dir" vars:"yes" doc:"directory for raw protocol logs of imap, pop3, submission and managesieve sessions"`
}

var _ = dovecot.Register("mail", RawlogSettings{})

// recorded returns the connection with its record in rawlog_dir, if that is set and there, as imap and pop3 of Dovecot
// do. The record begins with what the client sent while it logged in. Why there is none is logged.
func recorded(conn net.Conn, login *handoff.Login, user *store.User, log *maillog.Logger) net.Conn {
	set, err := dovecot.Get[RawlogSettings](user.Config(), dovecot.Filter{
		Service: login.Service, Local: login.Local.Addr().Unmap(), Remote: login.Remote.Addr().Unmap(), LocalName: login.LocalName,
	})
	if err == nil && set.Dir == "" {
		return conn
	}
	var dir string
	if err == nil {
		vars := Vars(user.Info())
		vars.Table = append(vars.Table,
			dovecot.Var{Key: 'l', Name: "lip", Value: login.Local.Addr().Unmap().String()}, dovecot.Var{Key: 'r', Name: "rip", Value: login.Remote.Addr().Unmap().String()},
			dovecot.Var{Key: 'p', Name: "pid", Value: strconv.Itoa(os.Getpid())}, dovecot.Var{Name: "session", Value: login.Session})
		dir, err = dovecot.ExpandVars(set.Dir, vars)
	}
	if err == nil {
		conn, err = rawlog.Record(conn, dir)
		rawlog.Read(conn, login.Input)
	}
	if err != nil {
		log.Errorf("rawlog_dir: %v", err)
	}
	return conn
}
