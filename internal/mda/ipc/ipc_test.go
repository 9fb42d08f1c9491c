package ipc

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// relayed is a source that has the sessions of a test.
type relayed []Session

func (r relayed) Relayed(_ context.Context, q *Query) (meant []Session, err error) {
	for i := range r {
		if q.Matches(&r[i]) {
			meant = append(meant, r[i])
		}
	}
	return meant, nil
}

var sessions = relayed{
	{Service: "imap", User: "bob", Remote: netip.MustParseAddr("192.0.2.1"), Host: "mail", Server: netip.MustParseAddrPort("192.0.2.9:143")},
	{Service: "pop3", User: "a\tb", Fields: map[string]string{"user_x": "1"}, Remote: netip.MustParseAddr("2001:db8::1"), Host: "other", Server: netip.MustParseAddrPort("[2001:db8::9]:110")},
}

func TestAnswers(t *testing.T) {
	for line, want := range map[string]string{
		"proxy\t*\tLIST-FULL": ":username\tuser_x\tservice\tsrc-ip\tdest-ip\tdest-port\n" +
			":bob\t\timap\t192.0.2.1\t192.0.2.9\t143\n:a\001tb\t1\tpop3\t2001:db8::1\t2001:db8::9\t110\n+\n",
		"proxy\t*\tKICK\tbob\tcarol":    "+1\n",
		"proxy\t*\tKICK\ta\001tb":       "+1\n",
		"proxy\t*\tKICK-HOST\tother":    "+1\n",
		"proxy\t*\tKICK-ALT\tuser_x\t1": "+1\n",
		"proxy\t*\tKICK-ALT\tuser_y\t1": "+0\n",
		"proxy\t*\tKICK":                "-Missing parameter\n",
		"proxy\t*\tNONSENSE":            "-Unknown command\n",
		"proxy\t1\tKICK\tbob":           "-Unknown IPC connection id: 1\n",
		"other\t*\tKICK\tbob":           "+\n",
		"proxy":                         "-Invalid input\n",
		"":                              "-Invalid input\n",
	} {
		var b strings.Builder
		answer(t.Context(), &b, line, sessions)
		if b.String() != want {
			t.Errorf("%q: %q, want %q", line, b.String(), want)
		}
	}
}

func TestAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipc")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go Serve(t.Context(), l, func(error) {}, sessions)
	var rows [][]string
	end, err := Ask(path, func(fields []string) { rows = append(rows, fields) }, "LIST-FULL")
	want := [][]string{
		{"username", "user_x", "service", "src-ip", "dest-ip", "dest-port"},
		{"bob", "", "imap", "192.0.2.1", "192.0.2.9", "143"},
		{"a\tb", "1", "pop3", "2001:db8::1", "2001:db8::9", "110"},
	}
	if diff := cmp.Diff(want, rows); diff != "" || end != "" || err != nil {
		t.Errorf("%s%q, %v", diff, end, err)
	}
	if _, err := Ask(path, nil, "NONSENSE"); err != Error("Unknown command") {
		t.Errorf("%v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("proxy\t*\tLIST-FULL")
	f.Add("proxy\t*\tKICK-ALT\tuser_x\t1")
	f.Fuzz(func(t *testing.T, line string) {
		var b strings.Builder
		answer(t.Context(), &b, line, sessions)
		if text := b.String(); text == "" || !strings.ContainsAny(text[:1], ":+-") {
			t.Errorf("%q: %q", line, text)
		}
	})
}
