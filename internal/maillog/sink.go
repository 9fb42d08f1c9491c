package maillog

import (
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Style is the shape of a line.
type Style uint8

// The two families of log lines.
const (
	Postfix Style = iota
	Dovecot
)

// maxLine is the longest line written, in bytes, as Postfix's vbuf and
// syslog(3) limit it; the rest is cut.
const maxLine = 2000

// maxPending is how many bytes wait for a destination that takes none at the
// moment, before those who log wait too.
const maxPending = 1 << 20

// A Sink is a destination of log lines, shared by all loggers of a process.
type Sink struct {
	style Style
	kind  sinkKind
	host  string                         // short host name, for Postfix lines in files
	ident string                         // syslog identifier of Dovecot lines
	prio  int                            // syslog facility, shifted
	fn    func(level Level, text string) // instead of a destination
	other atomic.Pointer[elsewhere]

	mu       sync.Mutex
	wake     sync.Cond
	pending  []byte
	ends     []int // syslog: where each datagram in pending ends
	spare    []byte
	spareEnd []int
	writing  bool
	closed   bool
	out      writer
	done     chan struct{}
	layout   string // of timestamps, as for strftime(3); empty for that of the style
	stamp    []byte // timestamp of stampSec, for files
	stampSec int64
}

type sinkKind uint8

const (
	toFile sinkKind = iota
	toSyslog
)

type writer interface {
	Write(p []byte) (int, error)
	Close() error
}

// NewFile returns a sink that appends lines to f, which it owns from then on.
// host is the name of this machine in Postfix's lines; its domain is left out.
func NewFile(f *os.File, style Style, host string) *Sink {
	s := newSink(f, toFile, style)
	s.host = shortName(host)
	return s
}

// NewSyslog returns a sink that sends each line to the syslog daemon behind
// conn, a connected datagram socket to /dev/log, with the given facility
// (syslog(3) number, such as 2 for mail) and, for Dovecot lines, identifier.
func NewSyslog(conn net.Conn, style Style, facility int, ident string) *Sink {
	s := newSink(conn, toSyslog, style)
	s.prio = facility << 3
	s.ident = ident
	return s
}

// DialSyslog connects to the local syslog daemon.
func DialSyslog() (net.Conn, error) {
	return net.Dial("unixgram", "/dev/log")
}

func newSink(w writer, kind sinkKind, style Style) *Sink {
	s := &Sink{style: style, kind: kind, out: w, done: make(chan struct{})}
	s.wake.L = &s.mu
	go s.run()
	return s
}

func shortName(host string) string {
	for i := range len(host) {
		if host[i] == '.' {
			return host[:i]
		}
	}
	return host
}

// Reopen replaces the destination, for instance after a log file was rotated.
// Lines logged before it go to the old destination.
func (s *Sink) Reopen(f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing || len(s.pending) > 0 {
		s.wake.Wait()
	}
	s.out.Close()
	s.out = f
}

// Flush returns when every line logged before it has been written.
func (s *Sink) Flush() {
	s.other.Load().each((*Sink).Flush)
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing || len(s.pending) > 0 {
		s.wake.Wait()
	}
}

// Close writes what is left and closes the destination.
func (s *Sink) Close() {
	s.other.Load().each((*Sink).Close)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.wake.Broadcast()
	s.mu.Unlock()
	<-s.done
	s.out.Close()
}

func (s *Sink) append(level Level, tag string, fn func([]byte) []byte) {
	if s.fn != nil {
		s.call(level, fn)
		return
	}
	if to := s.other.Load().sink(level); to != nil && to.tryAppend(level, tag, fn) {
		return
	}
	s.tryAppend(level, tag, fn)
}

// tryAppend writes a line. It returns false if the sink is closed.
func (s *Sink) tryAppend(level Level, tag string, fn func([]byte) []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pending) > maxPending && !s.closed {
		s.wake.Wait() // as the originals do, whose writes block
	}
	if s.closed {
		return false
	}
	now := time.Now()
	start := len(s.pending)
	b := s.appendHead(s.pending, now, level, tag)
	text := len(b)
	b = fn(b)
	s.sanitize(b[text:])
	if len(b)-text > maxLine {
		b = b[:text+maxLine]
	}
	if s.kind == toFile {
		b = append(b, '\n')
	} else {
		s.ends = append(s.ends, len(b)-start)
	}
	s.pending = b
	if start == 0 {
		s.wake.Broadcast()
	}
	return true
}

// appendHead appends everything before the text of a line.
func (s *Sink) appendHead(b []byte, now time.Time, level Level, tag string) []byte {
	if s.kind == toSyslog {
		b = append(b, '<')
		b = strconv.AppendInt(b, int64(s.prio|syslogSeverity[level]), 10)
		b = append(b, '>')
		b = append(b, now.Format(time.Stamp)...)
		b = append(b, ' ')
	} else {
		b = append(b, s.timestamp(now)...)
	}
	if s.style == Postfix {
		if s.kind == toFile {
			b = append(b, s.host...)
			b = append(b, ' ')
		}
		b = append(b, tag...)
		b = append(b, ": "...)
		return append(b, postfixLevel[level]...)
	}
	if s.kind == toSyslog {
		b = append(b, s.ident...)
		b = append(b, ": "...)
	}
	b = append(b, tag...)
	b = append(b, ": "...)
	if s.kind == toSyslog && level == Info {
		return b
	}
	return append(b, dovecotLevel[level]...)
}

// timestamp returns "Jan _2 15:04:05 ", formatted once a second.
func (s *Sink) timestamp(now time.Time) []byte {
	if s.layout != "" {
		s.stamp = appendTime(s.stamp[:0], s.layout, now)
		return s.stamp
	}
	if sec := now.Unix(); sec != s.stampSec || s.stamp == nil {
		layout := time.Stamp + " "
		if s.style == Dovecot {
			layout = "Jan 02 15:04:05 " // log_timestamp's default, "%b %d %H:%M:%S "
		}
		s.stamp = now.AppendFormat(s.stamp[:0], layout)
		s.stampSec = sec
	}
	return s.stamp
}

var (
	syslogSeverity = [...]int{Debug: 7, Info: 6, Warning: 4, Error: 3, Fatal: 2, Panic: 2}
	postfixLevel   = [...]string{Debug: "", Info: "", Warning: "warning: ", Error: "error: ", Fatal: "fatal: ", Panic: "panic: "}
	dovecotLevel   = [...]string{Debug: "Debug: ", Info: "Info: ", Warning: "Warning: ", Error: "Error: ", Fatal: "Fatal: ", Panic: "Panic: "}
)

// sanitize replaces control characters, so that no client can forge a line. As Dovecot
// does it keeps the TABs of the lines it speaks in.
func (s *Sink) sanitize(text []byte) {
	for i, c := range text {
		if (c < 0x20 || c == 0x7f) && (c != '\t' || s.style != Dovecot) {
			text[i] = '?'
		}
	}
}

// run is the sink's one writer.
func (s *Sink) run() {
	defer close(s.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.pending) == 0 && !s.closed {
			s.wake.Wait()
		}
		if len(s.pending) == 0 {
			return
		}
		s.writePending()
	}
}

// writePending writes what has gathered, without holding the lock meanwhile.
func (s *Sink) writePending() {
	lines, ends := s.pending, s.ends
	s.pending, s.ends = s.spare[:0], s.spareEnd[:0]
	s.writing = true
	out := s.out
	s.mu.Unlock()
	if s.kind == toFile {
		out.Write(lines) //nolint:errcheck // there is nowhere left to report it
	} else {
		s.send(out, lines, ends)
	}
	s.mu.Lock()
	s.writing = false
	s.spare, s.spareEnd = lines, ends
	s.wake.Broadcast()
}

// send sends each line as one datagram. A syslog daemon that was restarted is
// connected to again, once a line.
func (s *Sink) send(out writer, lines []byte, ends []int) {
	for _, n := range ends {
		line := lines[:n]
		lines = lines[n:]
		if _, err := out.Write(line); err == nil {
			continue
		}
		conn, err := DialSyslog()
		if err != nil {
			continue
		}
		out.Close()
		out = conn
		s.out = conn
		conn.Write(line) //nolint:errcheck // as above
	}
}

// facilities are the numbers of syslog(3) facility names.
var facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7,
	"uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// Facility returns the number of a syslog facility name; that of mail for an
// unknown one, which the configuration has refused before.
func Facility(name string) int {
	if n, ok := facilities[name]; ok {
		return n
	}
	return facilities["mail"]
}
