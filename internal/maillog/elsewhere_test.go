package maillog

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Lines of a level that goes elsewhere are there and nowhere else, also after another
// place was set.
func TestRoute(t *testing.T) {
	dir := t.TempDir()
	sink := func(name string) *Sink {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		s := NewFile(f, Dovecot, "")
		s.SetTimestamp("")
		return s
	}
	main := sink("main")
	log := New(main, "x")
	say := func(n int) {
		log.Debugf("debug %d", n)
		log.Infof("info %d", n)
		log.Errorf("error %d", n)
	}
	say(1)
	main.Route(nil, sink("info"))
	say(2)
	main.Route(sink("debug"), sink("info2"))
	say(3)
	main.Route(nil, nil)
	say(4)
	main.Close()
	for name, want := range map[string]string{
		"main":  "debug 1, info 1, error 1, error 2, error 3, debug 4, info 4, error 4",
		"info":  "debug 2, info 2",
		"info2": "info 3",
		"debug": "debug 3",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(text)) {
			got = append(got, strings.TrimSpace(line[strings.LastIndex(line, ": ")+2:]))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: %s, want %s", name, s, want)
		}
	}
}

// The same as strftime(3), by way of date(1).
func TestTimestampAsStrftime(t *testing.T) {
	const layout = "%a %A %b %B|%c|%C %d %D %e %F %g %G %h %H %I %j|%k|%l|%m %M %p %P %r %R %s %S %T %u %U %V %w %W %x %X %y %Y %z %Z %%"
	for _, day := range []string{"2026-11-22 15:04:05", "2021-01-01 00:00:00", "2020-12-31 23:59:59", "2024-01-07 12:30:00", "2023-01-01 01:02:03"} {
		now, err := time.Parse(time.DateTime, day)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("date", "-u", "-d", fmt.Sprintf("@%d", now.Unix()), "+"+layout)
		cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(appendTime(nil, layout, now)), strings.TrimSuffix(string(out), "\n"); got != want {
			t.Errorf("%s\n%s\nwant\n%s", day, got, want)
		}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	if got := string(appendTime(nil, "%H.%{usecs} %Q %", now)); got != "03.000006 %Q %" {
		t.Errorf("%q", got)
	}
}
