package postlog

import (
	"net"
	"os"
	"path/filepath"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A Sink is where a command logs. One that cannot be reached takes nothing: a command
// does its work without.
type Sink struct{ out *maillog.Sink }

// Client returns the log of a command.
func Client(core *postfix.Core) *Sink {
	if core.MaillogFile == "" {
		conn, err := maillog.DialSyslog()
		if err != nil {
			return &Sink{}
		}
		return &Sink{maillog.NewSyslog(conn, maillog.Postfix, maillog.Facility(core.SyslogFacility), "")}
	}
	f, err := dial(core)
	if err != nil {
		// The service is down, or out of reach; who may writes by himself.
		flags := os.O_WRONLY | os.O_APPEND
		if os.Geteuid() == 0 {
			flags |= os.O_CREATE
		}
		f, err = os.OpenFile(core.MaillogFile, flags, 0o600)
	}
	if err != nil {
		return &Sink{}
	}
	return &Sink{maillog.NewFile(f, maillog.Postfix, core.Myhostname)}
}

// dial connects to the service.
func dial(core *postfix.Core) (*os.File, error) {
	conn, err := net.Dial("unixgram", SocketPath(core))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*net.UnixConn).File()
}

// SocketPath is the socket of the service, which all users can reach: anyone may log, as to syslog.
func SocketPath(core *postfix.Core) string {
	return filepath.Join(core.QueueDirectory, "tools", "postlog")
}

// Logger returns a logger with a tag: "postfix/sendmail[812]".
func (s *Sink) Logger(tag string) *maillog.Logger { return maillog.New(s.out, tag) }

// Close writes what is left.
func (s *Sink) Close() {
	if s.out != nil {
		s.out.Close()
	}
}
