package service

import (
	"cmp"
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
	files  master.LogFiles
}

// openLogs opens what log_path, info_log_path and debug_log_path name: "syslog",
// "/dev/stderr", or a file. Empty, the last is as the second, and that as the first.
func openLogs(core *dovecot.Master) (*logs, error) {
	l := &logs{target: master.LogTarget{Style: maillog.Dovecot, Ident: core.InstanceName, Facility: maillog.Facility(core.SyslogFacility)}}
	if core.LogTimestamp != dovecot.DefaultOf("log_timestamp") {
		l.target.Timestamp = core.LogTimestamp
	}
	l.target.Syslog = core.LogPath == "syslog"
	var err error
	if !l.target.Syslog {
		if l.files.Main, err = openLog(core.LogPath); err != nil {
			return nil, err
		}
	}
	if l.target.Info, l.files.Info, err = openLevel(core.InfoLogPath, core.LogPath); err != nil {
		return nil, err
	}
	l.target.Debug, l.files.Debug, err = openLevel(core.DebugLogPath, cmp.Or(core.InfoLogPath, core.LogPath))
	return l, err
}

// openLevel opens the log of a level unless it is that of its neighbor.
func openLevel(path, neighbor string) (master.LogPlace, *os.File, error) {
	switch path {
	case "", neighbor:
		return master.LogWithOthers, nil, nil
	case "syslog":
		return master.LogToSyslog, nil, nil
	}
	f, err := openLog(path)
	return master.LogToFile, f, err
}

func openLog(path string) (*os.File, error) {
	if path == "/dev/stderr" || path == "" {
		return os.Stderr, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("Can't open log file %s: %w", path, errorNumber(err))
	}
	return f, nil
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
	s, err := l.mainSink()
	if err != nil {
		return nil, err
	}
	return s, l.apply(s)
}

func (l *logs) mainSink() (*maillog.Sink, error) {
	if l.target.Syslog {
		conn, err := maillog.DialSyslog()
		if err == nil {
			return maillog.NewSyslog(conn, maillog.Dovecot, l.target.Facility, l.target.Ident), nil
		}
		l = &logs{files: master.LogFiles{Main: os.Stderr}} // no syslog daemon: better there than nowhere
	}
	dup, err := master.Dup(l.files.Main)
	if err != nil {
		return nil, err
	}
	return maillog.NewFile(dup, maillog.Dovecot, ""), nil
}

// apply has a sink of this process write where l says.
func (l *logs) apply(s *maillog.Sink) error {
	files := l.files
	for _, f := range []**os.File{&files.Main, &files.Debug, &files.Info} {
		if *f == nil {
			continue
		}
		var err error
		if *f, err = master.Dup(*f); err != nil {
			return err
		}
	}
	if files.Main != nil {
		s.Reopen(files.Main)
	}
	return l.target.Route(s, files)
}

// forProcess is the log target of a child.
func (l *logs) forProcess(tag string) master.LogTarget {
	t := l.target
	t.Tag = tag
	return t
}
