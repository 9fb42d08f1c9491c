package maillog

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestFileLines(t *testing.T) {
	for _, tt := range []struct {
		name  string
		style Style
		tag   string
		log   func(*Logger)
		want  string // after the timestamp
	}{
		{"Postfix, informational", Postfix, "postfix/smtpd[812]", func(l *Logger) { l.Info("connect from unknown[192.0.2.1]") }, "mail postfix/smtpd[812]: connect from unknown[192.0.2.1]"},
		{"Postfix, warning", Postfix, "postfix/qmgr[1]", func(l *Logger) { l.Warningf("%d left", 3) }, "mail postfix/qmgr[1]: warning: 3 left"},
		{"Dovecot, informational", Dovecot, "imap(bob)<8><x>", func(l *Logger) { l.Info("Logged out") }, "imap(bob)<8><x>: Info: Logged out"},
		{"Dovecot, error", Dovecot, "auth", func(l *Logger) { l.Errorf("gone") }, "auth: Error: gone"},
		{"control characters cannot forge a line", Postfix, "postfix/smtpd[1]", func(l *Logger) { l.Info("a\nmail postfix/qmgr[1]: b\x1b") }, "mail postfix/smtpd[1]: a?mail postfix/qmgr[1]: b?"},
		{"long lines are cut", Dovecot, "x", func(l *Logger) { l.Info(strings.Repeat("a", 3000)) }, "x: Info: " + strings.Repeat("a", maxLine)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			sink := NewFile(f, tt.style, "mail.example.com")
			tt.log(New(sink, tt.tag))
			sink.Close()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			stamp := regexp.MustCompile(`^[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} `)
			if got := stamp.ReplaceAllString(string(text), ""); got != tt.want+"\n" || got == string(text) {
				t.Errorf("line %q, want a timestamp and %q", text, tt.want)
			}
		})
	}
}

// Each line is a datagram of its own, with the severity as syslog numbers it.
func TestSyslogLines(t *testing.T) {
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "log"), Net: "unixgram"}
	server, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := net.DialUnix("unixgram", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	sink := NewSyslog(conn, Dovecot, Facility("mail"), "dovecot")
	log := New(sink, "auth")
	log.Info("hello")
	log.Warningf("careful")
	sink.Close()
	for _, want := range []string{`^<22>.* dovecot: auth: hello$`, `^<20>.* dovecot: auth: Warning: careful$`} {
		buf := make([]byte, 4096)
		n, err := server.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(want).Match(buf[:n]) {
			t.Errorf("datagram %q, want %s", buf[:n], want)
		}
	}
}

// Lines logged before a rotation are in the old file, later ones in the new.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	create := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	sink := NewFile(create("old"), Dovecot, "")
	log := New(sink, "x")
	for range 100 {
		log.Info("before")
	}
	sink.Reopen(create("new"))
	log.Info("after")
	sink.Close()
	for name, want := range map[string][2]int{"old": {100, 0}, "new": {0, 1}} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]int{strings.Count(string(text), "before\n"), strings.Count(string(text), "after\n")}; got != want {
			t.Errorf("%s: %v lines before and after, want %v", name, got, want)
		}
	}
}

func TestNilLoggerIsSilent(t *testing.T) {
	var l *Logger
	l.Info("nothing")
	l.With("x").Errorf("nothing")
}

func BenchmarkAppend(b *testing.B) {
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	sink := NewFile(f, Postfix, "mail")
	defer sink.Close()
	log := New(sink, "postfix/smtpd[1]")
	b.ReportAllocs()
	for b.Loop() {
		log.Append(Info, func(line []byte) []byte { return append(line, "connect from unknown[192.0.2.1]"...) })
	}
}
