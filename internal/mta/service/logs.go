package service

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// logs is where the service logs.
type logs struct {
	target master.LogTarget
	file   *os.File // nil for syslog
}

// openLogs opens maillog_file, or syslog where it is empty.
func openLogs(core *postfix.Core) (*logs, error) {
	l := &logs{target: master.LogTarget{Style: maillog.Postfix, Facility: maillog.Facility(core.SyslogFacility), Host: core.Myhostname}}
	switch core.MaillogFile {
	case "":
		l.target.Syslog = true
		return l, nil
	case "/dev/stdout":
		l.file = os.Stdout
		return l, nil
	}
	ok := slices.ContainsFunc(postfix.SplitList(core.MaillogFilePrefixes), func(prefix string) bool {
		return strings.HasPrefix(core.MaillogFile, prefix)
	})
	if !ok {
		return nil, fmt.Errorf("maillog_file %q does not match a prefix of maillog_file_prefixes (%s)", core.MaillogFile, core.MaillogFilePrefixes)
	}
	f, err := os.OpenFile(core.MaillogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l.file = f
	return l, nil
}

func (l *logs) forProcess(name string) master.LogTarget {
	t := l.target
	t.Tag = name
	return t
}

// sink opens the log for this process's own lines.
func (l *logs) sink() (*maillog.Sink, error) {
	if l.target.Syslog {
		conn, err := maillog.DialSyslog()
		if err == nil {
			return maillog.NewSyslog(conn, maillog.Postfix, l.target.Facility, ""), nil
		}
		l = &logs{file: os.Stderr} // no syslog daemon: better there than nowhere
	}
	f, err := master.Dup(l.file)
	if err != nil {
		return nil, err
	}
	return maillog.NewFile(f, maillog.Postfix, l.target.Host), nil
}
