package service

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// logs is where the service logs.
type logs struct {
	target master.LogTarget
	file   *os.File // nil for syslog
}

// openLogs opens what log_path names: "syslog", "/dev/stderr", or a file.
func openLogs(core *dovecot.Master) (*logs, error) {
	l := &logs{target: master.LogTarget{Style: maillog.Dovecot, Ident: core.InstanceName, Facility: maillog.Facility(core.SyslogFacility)}}
	switch core.LogPath {
	case "syslog":
		l.target.Syslog = true
		return l, nil
	case "/dev/stderr", "":
		l.file = os.Stderr
		return l, nil
	}
	f, err := os.OpenFile(core.LogPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("Can't open log file %s: %w", core.LogPath, errorNumber(err))
	}
	l.file = f
	return l, nil
}

// errorNumber strips the operation and path from a file error, as strerror(3).
func errorNumber(err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err
	}
	return err
}

// sink opens the log for the master's own lines.
func (l *logs) sink() (*maillog.Sink, error) {
	if l.target.Syslog {
		conn, err := maillog.DialSyslog()
		if err != nil {
			// No syslog daemon: better on stderr than nowhere.
			return dupSink(os.Stderr)
		}
		return maillog.NewSyslog(conn, maillog.Dovecot, l.target.Facility, l.target.Ident), nil
	}
	return dupSink(l.file)
}

func dupSink(f *os.File) (*maillog.Sink, error) {
	dup, err := master.Dup(f)
	if err != nil {
		return nil, err
	}
	return maillog.NewFile(dup, maillog.Dovecot, ""), nil
}

// forProcess is the log target of a child.
func (l *logs) forProcess(tag string) master.LogTarget {
	t := l.target
	t.Tag = tag
	return t
}
