package maillog

import (
	"fmt"
)

// A Level is the severity of a line.
type Level uint8

// The severities, in rising order.
const (
	Debug Level = iota
	Info
	Warning
	Error
	Fatal
	Panic
)

// A Logger writes lines with one tag. Its zero value and nil are silent. A
// Logger is safe for concurrent use.
type Logger struct {
	sink *Sink
	tag  string
}

// New returns a logger that writes to sink with the given tag: the program and
// process as the analysers expect them, such as "postfix/smtpd[812]" or
// "imap(bob)<812><xyz>".
func New(sink *Sink, tag string) *Logger {
	return &Logger{sink: sink, tag: tag}
}

// With returns a logger to the same sink with another tag.
func (l *Logger) With(tag string) *Logger {
	if l == nil {
		return nil
	}
	return &Logger{sink: l.sink, tag: tag}
}

// Tag returns the tag given to [New] or [Logger.With].
func (l *Logger) Tag() string {
	if l == nil {
		return ""
	}
	return l.tag
}

// Append writes the line that fn appends to the buffer it is given. It does not
// allocate, for lines written once per message. fn must not keep the buffer
// and must not append a newline; control characters in what it appended are
// replaced as the originals do.
func (l *Logger) Append(level Level, fn func(b []byte) []byte) {
	if l == nil || l.sink == nil {
		return
	}
	l.sink.append(level, l.tag, fn)
}

// Print writes one line of the given severity.
func (l *Logger) Print(level Level, text string) {
	if l == nil || l.sink == nil {
		return
	}
	l.sink.append(level, l.tag, func(b []byte) []byte { return append(b, text...) })
}

// Info writes one informational line.
func (l *Logger) Info(text string) { l.Print(Info, text) }

// Debugf writes a line that only matters when looking for a defect.
func (l *Logger) Debugf(format string, args ...any) { l.printf(Debug, format, args) }

// Infof writes an informational line.
func (l *Logger) Infof(format string, args ...any) { l.printf(Info, format, args) }

// Warningf writes a line about something an administrator should look at.
func (l *Logger) Warningf(format string, args ...any) { l.printf(Warning, format, args) }

// Errorf writes a line about something that failed.
func (l *Logger) Errorf(format string, args ...any) { l.printf(Error, format, args) }

// Fatalf writes a line about why the process ends. It does not end it.
func (l *Logger) Fatalf(format string, args ...any) { l.printf(Fatal, format, args) }

func (l *Logger) printf(level Level, format string, args []any) {
	if l == nil || l.sink == nil {
		return
	}
	l.sink.append(level, l.tag, func(b []byte) []byte { return fmt.Appendf(b, format, args...) })
}

// NewFunc returns a logger whose lines go to fn, one call a line: for tools that
// write them to standard error, and for tests. Calls do not overlap.
func NewFunc(fn func(level Level, text string)) *Logger {
	return &Logger{sink: newFuncSink(fn)}
}
