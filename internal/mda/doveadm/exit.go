package doveadm

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// The exit statuses: those of sysexits(3), with Dovecot's names where it gave
// them another meaning.
const (
	exUsage       = 64
	exNotPossible = 65 // EX_DATAERR
	exNoUser      = 67
	exNotFound    = 68 // EX_NOHOST
	exCantCreate  = 73 // no quota, no space
	exTempFail    = 75
	exNoPerm      = 77
	exConfig      = 78
	exFatal       = 89 // of the configuration and the global options
)

// errUsage has the usage of the command printed.
var errUsage = errors.New("wrong usage")

// errReported is returned for what has been reported already.
var errReported = errors.New("reported")

// An exitStatus ends the program without a further message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// A fatal error ends the program.
type fatal struct {
	status int
	text   string
}

func (e *fatal) Error() string { return e.text }

func fatalf(status int, format string, args ...any) error {
	return &fatal{status, fmt.Sprintf(format, args...)}
}

func fatalOf(err error) *fatal {
	var f *fatal
	errors.As(err, &f)
	return f
}

// A failure is an error with the text that is reported and another one inside that
// decides the status.
type failure struct {
	text string
	err  error
}

func (e *failure) Error() string { return e.text }

func (e *failure) Unwrap() error { return e.err }

// failed is an error about err, with the text that it has for an administrator:
// failed(err, "Can't create mailbox %s", name).
func failed(err error, format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...) + ": " + explain(err), err}
}

// withStatus is an error with the given exit status.
func withStatus(status int, format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), exitStatus(status)}
}

// explain is the text of an error for an administrator: what a user is not told is
// said.
func explain(err error) string {
	var e *store.Error
	if errors.As(err, &e) && e.Code == store.CodeServerBug && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// statusOf is the exit status that an error leads to.
func statusOf(err error) int {
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	var e *store.Error
	if errors.As(err, &e) {
		switch e.Code {
		case store.CodeNonExistent, store.CodeTryCreate:
			return exNotFound
		case store.CodeAlreadyExists, store.CodeInUse:
			return exNotPossible
		case store.CodeOverQuota:
			return exCantCreate
		case store.CodeNoPerm:
			return exNoPerm
		case store.CodeCannot, "":
			switch {
			case errors.Is(err, mailbox.ErrNotExist):
				return exNotFound
			case strings.HasPrefix(e.Text, "Invalid mailbox name: "), strings.HasPrefix(e.Text, "Storage root can't "):
				return exUsage // a name that no mailbox can have
			}
			return exNotPossible
		}
		return exTempFail
	}
	switch {
	case errors.Is(err, mailbox.ErrNotExist):
		return exNotFound
	case errors.Is(err, mailbox.ErrExists):
		return exNotPossible
	case errors.Is(err, mailbox.ErrNoSpace):
		return exCantCreate
	case errors.Is(err, mailbox.ErrReadOnly):
		return exNoPerm
	}
	return exTempFail
}

// messages are the lines on standard error, and the exit status that they lead to.
type messages struct {
	mu     sync.Mutex
	w      io.Writer
	to     func(level maillog.Level, prefix, text string) // instead of w
	prefix string                                         // "", "doveadm: " or "doveadm(USER): "
	debug  bool
	status int
}

func (m *messages) line(level maillog.Level, text string) {
	if m.to != nil {
		m.to(level, m.prefix, text)
		return
	}
	line := append([]byte(m.prefix), levelNames[level]...)
	line = append(append(line, ": "...), text...)
	for i, c := range line {
		if c < ' ' && c != '\t' { // what mail and names contain must not control a terminal
			line[i] = '?'
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.w.Write(append(line, '\n')) //nolint:errcheck // there is nobody else to tell
}

func (m *messages) errorf(format string, args ...any) {
	m.line(maillog.Error, fmt.Sprintf(format, args...))
}

func (m *messages) infof(format string, args ...any) {
	m.line(maillog.Info, fmt.Sprintf(format, args...))
}

// report prints an error and has it decide the exit status: the first does,
// and any that is temporary.
func (m *messages) report(err error) {
	if err == nil {
		return
	}
	if !errors.Is(err, errReported) {
		m.line(maillog.Error, err.Error())
	}
	m.fail(statusOf(err))
}

func (m *messages) fail(status int) {
	if m.status == 0 || status == exTempFail {
		m.status = status
	}
}

// logger is for the packages below.
func (m *messages) logger() *maillog.Logger {
	return maillog.NewFunc(func(level maillog.Level, text string) {
		if level == maillog.Debug && !m.debug {
			return
		}
		m.line(level, text)
	})
}

var levelNames = [...]string{
	maillog.Debug: "Debug", maillog.Info: "Info", maillog.Warning: "Warning", maillog.Error: "Error",
	maillog.Fatal: "Fatal", maillog.Panic: "Panic",
}

// finish returns the exit status of a run that ended with err.
func (m *messages) finish(err error) int {
	if status, ok := err.(exitStatus); ok {
		return int(status)
	}
	if f := fatalOf(err); f != nil {
		m.line(maillog.Fatal, f.text)
		return f.status
	}
	m.report(err)
	return m.status
}
