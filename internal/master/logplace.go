package master

import (
	"errors"
	"fmt"
	"os"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A LogPlace is where lines of one level go.
type LogPlace uint8

// The places of lines about defects and of informational lines.
const (
	LogWithOthers LogPlace = iota
	LogToSyslog
	LogToFile
)

// LogFiles are the open files of a [LogTarget], nil where it wants none.
type LogFiles struct{ Main, Debug, Info *os.File }

// list gives the files that t wants, in the order of takeFiles.
func (f LogFiles) list(t LogTarget) []*os.File {
	var all []*os.File
	if !t.Syslog {
		all = append(all, f.Main)
	}
	if t.Debug == LogToFile {
		all = append(all, f.Debug)
	}
	if t.Info == LogToFile {
		all = append(all, f.Info)
	}
	return all
}

// takeFiles takes those of t from the front of files.
func (t LogTarget) takeFiles(files []*os.File) (logs LogFiles, rest []*os.File, err error) {
	take := func(dst **os.File, wanted bool) {
		switch {
		case wanted && len(files) == 0:
			err = errors.New("the master sent too few log files")
		case wanted:
			*dst, files = files[0], files[1:]
		}
	}
	take(&logs.Main, !t.Syslog)
	take(&logs.Debug, t.Debug == LogToFile)
	take(&logs.Info, t.Info == LogToFile)
	return logs, files, err
}

// Route has the lines of s look as t says, and those of some levels go elsewhere. The
// files become the sink's.
func (t LogTarget) Route(s *maillog.Sink, f LogFiles) error {
	s.SetTimestamp(t.Timestamp)
	oldDebug, oldInfo := s.Routed()
	debug, err := t.levelSink(t.Debug, f.Debug, oldDebug)
	if err != nil {
		return err
	}
	info, err := t.levelSink(t.Info, f.Info, oldInfo)
	if err != nil {
		return err
	}
	s.Route(debug, info)
	return nil
}

// levelSink makes the sink of one level. A connection to syslog is kept: this process may
// have changed its root directory since.
func (t LogTarget) levelSink(place LogPlace, f *os.File, old *maillog.Sink) (*maillog.Sink, error) {
	switch {
	case place == LogToFile:
		s := maillog.NewFile(f, t.Style, t.Host)
		s.SetTimestamp(t.Timestamp)
		return s, nil
	case place == LogWithOthers:
		return nil, nil
	case old.IsSyslog():
		return old, nil
	}
	conn, err := maillog.DialSyslog()
	if err != nil {
		return nil, fmt.Errorf("syslog: %w", err)
	}
	return maillog.NewSyslog(conn, t.Style, t.Facility, t.Ident), nil
}
