package postfix

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// testSettings has a field of every kind.
type testSettings struct {
	Name     string        `set:"myhostname"`
	Limit    int64         `set:"message_size_limit"`
	Lifetime time.Duration `set:"maximal_queue_lifetime"`
	Backoff  time.Duration `set:"minimal_backoff_time"`
	Level    int           `set:"debug_peer_level"`
	Dot      bool          `set:"append_dot_mydomain"`
	Command  string        `set:"mailbox_command" raw:"yes"`
	Relay    string        `set:"relay_domains"`
}

var _ = Register("test", testSettings{})

func parseOK(t *testing.T, text string) *Main {
	t.Helper()
	m, err := Parse("/test", text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDiscrepancies(t *testing.T) {
	for _, d := range Discrepancies() {
		t.Error(d)
	}
}

func TestDecode(t *testing.T) {
	m := parseOK(t, `
myhostname = mail.$mydomain
mydomain = example.com
# time without unit: days here, seconds there
maximal_queue_lifetime = 3
minimal_backoff_time = ${stress?{10}:{300}}
mailbox_command = /bin/procmail -a $EXTENSION
`)
	got, err := Get[testSettings](m)
	if err != nil {
		t.Fatal(err)
	}
	want := &testSettings{
		Name: "mail.example.com", Limit: 10240000, Lifetime: 72 * time.Hour, Backoff: 5 * time.Minute, Level: 2, Dot: true,
		Command: "/bin/procmail -a $EXTENSION", Relay: "mail.example.com, localhost.example.com, localhost",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = Get[testSettings](m.With(map[string]string{"compatibility_level": "3.6", "stress": "yes", "mydomain": "example.net"}))
	if err != nil {
		t.Fatal(err)
	}
	if got.Dot || got.Relay != "" || got.Backoff != 10*time.Second || got.Name != "mail.example.net" {
		t.Errorf("%+v", got)
	}
	if o := m.Origin("mydomain"); o != "/test/main.cf, line 3" {
		t.Errorf("Origin = %q", o)
	}
}

func TestExpandNames(t *testing.T) {
	m := parseOK(t, "default_destination_recipient_limit = 7\nslow_destination_rate_delay = 1s\nmine = $yours x\nyours = y\nalias_maps =\n")
	for name, want := range map[string]string{
		"slow_destination_recipient_limit":  "7",
		"slow_destination_rate_delay":       "1s",
		"local_destination_recipient_limit": "1",
		"mine":                              "y x",
		"alias_maps":                        "",
		"config_directory":                  "/test",
	} {
		got, ok, err := m.Expand(name)
		if got != want || !ok || err != nil {
			t.Errorf("Expand(%s) = %q, %v, %v; want %q", name, got, ok, err, want)
		}
	}
	if _, ok, _ := m.Expand("nosuch"); ok {
		t.Error("an unknown name has a value")
	}
}

func TestExpressions(t *testing.T) {
	m := parseOK(t, "compatibility_level = 3.6\n")
	cases, err := os.ReadFile("testdata/expressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	for ln := range strings.Lines(string(cases)) {
		if ln[0] == '#' {
			continue
		}
		expr, want, _ := strings.Cut(strings.TrimSuffix(ln, "\n"), "\t")
		got, err := m.ExpandText(strings.ReplaceAll(expr, `\t`, "\t"))
		got = strings.Join(strings.Fields(got), " ")
		var bad *Error
		switch {
		case errors.As(err, &bad):
			got = "! " + bad.Warning
		case err != nil:
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", expr, got, want)
		}
	}
}

// TestExplosion expands what would take forever or fill the memory.
func TestExplosion(t *testing.T) {
	for name, leaf := range map[string]string{"empty": "", "long": strings.Repeat("x", 1000)} {
		text := "v0 = " + leaf + "\n"
		for i := range 90 {
			text += fmt.Sprintf("v%d = $v%d$v%d\n", i+1, i, i)
		}
		if _, _, err := parseOK(t, text).Expand("v90"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSplitList(t *testing.T) {
	for in, want := range map[string][]string{
		"":                           nil,
		" a, b\tc,,d ":               {"a", "b", "c", "d"},
		"inline:{a=b, c=d}, {x y} z": {"inline:{a=b, c=d}", "{x y}", "z"},
		"{ unclosed a":               {"{ unclosed a"},
		"a}b c":                      {"a}b", "c"},
		"check_policy_service {inet:h:1, timeout=10s} permit": {"check_policy_service", "{inet:h:1, timeout=10s}", "permit"},
	} {
		if diff := cmp.Diff(want, SplitList(in)); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

// TestDefaults compares the catalog with postconf -d of Postfix 3.7.
func TestDefaults(t *testing.T) {
	text, err := os.ReadFile("testdata/defaults.txt")
	if err != nil {
		t.Fatal(err)
	}
	// What depends on the build, the system, or is newer here.
	differ := []string{
		"daemon_directory", "shlib_directory", "html_directory", "readme_directory", "manpage_directory", "mail_release_date",
		"smtpd_forbid_bare_newline", "config_directory", "import_environment",
	}
	for ln := range strings.Lines(string(text)) {
		name, want, _ := strings.Cut(strings.TrimSuffix(ln, "\n"), " =")
		if name == "config_directory" {
			continue
		}
		p := Lookup(name)
		if p == nil {
			if got, _ := (&Main{}).transportDefault(name); got != strings.TrimSpace(want) {
				t.Errorf("%s: default %q, want %q", name, got, want)
			}
			continue
		}
		if p.Computed || slices.Contains(differ, name) {
			continue
		}
		if got := strings.Join(strings.Fields(p.Default), " "); got != strings.TrimSpace(want) {
			t.Errorf("%s: default %q, want %q", name, got, want)
		}
	}
}

// TestSamples compares complete configurations with what postconf prints.
func TestSamples(t *testing.T) {
	paths, _ := filepath.Glob("../postconf/testdata/samples/*.txtar")
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for _, f := range a.Files {
				files[f.Name] = string(f.Data)
			}
			m := parseOK(t, files["main.cf"])
			m.computed.hostname = func() string { return "host" } // where the sample was taken
			compareMain(t, m, files["postconf-nx.txt"])
			services, err := ParseMaster("master.cf", files["master.cf"])
			if err != nil {
				t.Fatal(err)
			}
			compareServices(t, services, files["postconf-P.txt"], files["postconf-F.txt"])
		})
	}
}

func compareMain(t *testing.T, m *Main, expanded string) {
	t.Helper()
	for ln := range strings.Lines(expanded) {
		name, want, _ := strings.Cut(strings.TrimSuffix(ln, "\n"), " =")
		got, _, err := m.Expand(name)
		if p := Lookup(name); p != nil && p.Kind == KindRaw {
			got, _ = m.Raw(name)
		}
		if name == "config_directory" {
			continue
		}
		if got = strings.Join(strings.Fields(got), " "); got != strings.TrimSpace(want) || err != nil {
			t.Errorf("%s = %q, %v; want %q", name, got, err, strings.TrimSpace(want))
		}
	}
}

func compareServices(t *testing.T, m *Master, overrides, fields string) {
	t.Helper()
	got := map[string]string{}
	for _, s := range m.Services {
		id := s.Name + "/" + s.Type + "/"
		for name, v := range s.Overrides {
			got[id+name] = v
		}
	}
	want := map[string]string{}
	for ln := range strings.Lines(overrides) {
		k, v, _ := strings.Cut(strings.TrimSuffix(ln, "\n"), " =")
		want[k] = strings.TrimSpace(v)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for ln := range strings.Lines(fields) {
		k, v, _ := strings.Cut(strings.TrimSuffix(ln, "\n"), " = ")
		id, field := k[:strings.LastIndexByte(k, '/')], k[strings.LastIndexByte(k, '/')+1:]
		i := slices.IndexFunc(m.Services, func(s ServiceEntry) bool { return s.Name+"/"+s.Type == id })
		if i < 0 {
			t.Fatalf("no service %s", id)
		}
		if got := fieldOf(m.Services[i], field); got != "" && v != "-" && got != v {
			t.Errorf("%s = %s, want %s", k, got, v)
		}
	}
}

func fieldOf(s ServiceEntry, field string) string {
	yes := map[bool]string{true: "y", false: "n"}
	switch field {
	case "private":
		return yes[s.Private]
	case "unprivileged":
		return yes[s.Unpriv]
	case "chroot":
		return yes[s.Chroot]
	case "wakeup":
		return fmt.Sprint(s.Wakeup) + map[bool]string{true: "?"}[s.WakeupUsed]
	case "process_limit":
		return fmt.Sprint(s.MaxProc)
	}
	return ""
}

func TestMaster(t *testing.T) {
	m, err := ParseMaster("/m", `
# comment
smtp inet n - n - - smtpd
  -o smtpd_banner=x
  -v -vv
# in between
  -o { smtpd_helo_required = yes } -omynetworks=127.0.0.1 -o {a=b c}
25 inet n - y 60? 7 smtpd
pipe unix - n n - 10 pipe flags=R user=vmail argv=/bin/x -f ${sender} {a b}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []ServiceEntry{
		{Name: "25", Type: "inet", Unpriv: true, Chroot: true, Wakeup: 60, WakeupUsed: true, MaxProc: 7, Command: "smtpd", Overrides: map[string]string{}, File: "/m", Line: 8},
		{Name: "pipe", Type: "unix", Private: true, MaxProc: 10, Command: "pipe", Overrides: map[string]string{},
			Args: []string{"flags=R", "user=vmail", "argv=/bin/x", "-f", "${sender}", "a b"}, File: "/m", Line: 9},
	}
	if diff := cmp.Diff(want, m.Services); diff != "" {
		t.Error(diff)
	}
	if w := m.Warnings(); len(w) != 1 || w[0] != `duplicate master.cf entry for service "25" (25) -- using the last entry` {
		t.Errorf("%q", w)
	}
	m, err = ParseMaster("/m", "smtp inet n - n - - smtpd\n -o smtpd_banner=x -v -vv\n# c\n -o { smtpd_helo_required = yes } -omynetworks=$x -o {a=b c}\n")
	if err != nil {
		t.Fatal(err)
	}
	s := m.Services[0]
	if diff := cmp.Diff(map[string]string{"smtpd_banner": "x", "smtpd_helo_required": "yes", "mynetworks": "$x", "a": "b c"}, s.Overrides); diff != "" {
		t.Error(diff)
	}
	if s.Verbose != 3 || s.MaxProc != DefaultProcesses {
		t.Errorf("%+v", s)
	}
	v, _, err := s.Main(parseOK(t, "x = y $service_name\n")).Expand("mynetworks")
	if v != "y smtp" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

func TestMasterErrors(t *testing.T) {
	for text, want := range map[string]string{
		"smtp\n":                             `/m: line 1: missing "transport type" field`,
		"smtp -\n":                           `/m: line 1: field "transport type" has no default value`,
		"smtp tcp n - n - - smtpd\n":         `/m: line 1: field "transport type": bad value: "tcp"`,
		"\nsmtp inet y - n - - smtpd\n":      `/m: line 2: inet service cannot be private`,
		"smtp inet x - n - - smtpd\n":        `/m: line 1: field "private": bad value: "x"`,
		"smtp inet n - n - -\n":              `/m: line 1: missing "command" field`,
		"smtp inet n - n x - smtpd\n":        `/m: line 1: field "wakeup_time": bad value: "x"`,
		"smtp inet n - n - -5 smtpd\n":       `/m: line 1: field "max_proc": bad value: "-5"`,
		"smtp inet n - n - - smtpd -o foo\n": `/m: line 1: invalid "-o foo" option value: missing '=' after attribute name`,
	} {
		if _, err := ParseMaster("/m", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestChecks compares Load and Check with what an installed postmap says when
// it reads the same main.cf.
func TestChecks(t *testing.T) {
	if _, err := exec.LookPath("postmap"); err != nil {
		t.Fatal("postmap is not installed: run test/install-packages")
	}
	cases, err := os.ReadFile("testdata/checks.txt")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for ln := range strings.Lines(string(cases)) {
		if ln[0] == '#' {
			continue
		}
		text := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r").Replace(ln)
		dir := t.TempDir()
		path := filepath.Join(dir, "main.cf")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		// Postfix reads a fresh file several times.
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { // all at once: after an error postmap waits a second
			if diff := cmp.Diff(runPostmap(t, dir), loadOutcome(dir)); diff != "" {
				t.Errorf("%s%s", text, diff)
			}
		})
	}
	wg.Wait()
}

func runPostmap(t *testing.T, dir string) []string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("postmap", "-c", dir, "-q", "x", "inline:{x=y}")
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && stderr.Len() == 0 {
		t.Error(err)
	}
	var out []string
	for ln := range strings.Lines(stderr.String()) {
		out = append(out, strings.TrimPrefix(strings.TrimSuffix(ln, "\n"), "postmap: "))
	}
	return out
}

func loadOutcome(dir string) []string {
	m, err := Load(dir)
	var out []string
	if m != nil {
		for _, w := range m.warnings {
			out = append(out, "warning: "+w)
		}
	}
	if err == nil {
		err = m.Check()
	}
	if err == nil {
		err = m.CheckUsers()
	}
	var two *Error
	if errors.As(err, &two) {
		out = append(out, "warning: "+two.Warning)
	}
	if err != nil {
		out = append(out, "fatal: "+err.Error())
	}
	return out
}

func TestNoEffect(t *testing.T) {
	m := parseOK(t, "hash_queue_depth = 2\nqmqpd_timeout = 5s\nmyhostname = a.b\nreadme_directory = /x\nsmtpd_proxy_filter = localhost:1\n")
	want := []string{
		"setting hash_queue_depth has no effect: the queue is not made of one file for each message",
		"setting qmqpd_timeout has no effect: there is no QMQP server",
		"setting smtpd_proxy_filter has no effect: it is not supported",
	}
	if diff := cmp.Diff(want, m.Warnings()); diff != "" {
		t.Error(diff)
	}
	wantErr := "/test/main.cf, line 5: smtpd_proxy_filter is not supported, and without it mail would not pass through the filter: remove it to start all the same"
	if err := m.Refused(); err == nil || err.Error() != wantErr {
		t.Error(err)
	}
}

// endless gives the same bytes again and again.
type endless struct {
	text string
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text)
	if e.left -= n; e.left < 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return n, nil
}

func TestHugeInput(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"one line":     {"aaaaaaaaaaaa", "line is too long"},
		"continuation": {" aaaaaaaaaaa\n", "line is too long"},
		"values":       {"a = b\n cccc\n", "the file is too large"},
		"binary":       {"\x7fELF\x00\x01\n", "missing '=' after attribute name"},
	} {
		_, err := read("/x", &endless{strings.Repeat(tt.text, 100), 200 << 20})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.HasSuffix(err.Error(), "/main.cf: No such file or directory") {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "main.cf"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || err.Error() != "read "+dir+"/main.cf: Is a directory" {
		t.Error(err)
	}
}

func FuzzMain(f *testing.F) {
	paths, _ := filepath.Glob("../postconf/testdata/samples/*.txtar")
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(a.Files[0].Data))
	}
	f.Add("a = ${{$b} <level {3} ? {x} : {y}}\nb = $a\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse("/fuzz", text)
		if err != nil {
			return
		}
		for name := range m.values {
			m.Expand(name)
		}
		Get[testSettings](m)
	})
}

func FuzzExpand(f *testing.F) {
	cases, err := os.ReadFile("testdata/expressions.txt")
	if err != nil {
		f.Fatal(err)
	}
	for ln := range strings.Lines(string(cases)) {
		expr, _, _ := strings.Cut(ln, "\t")
		f.Add(expr)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ExpandText(s, func(name string) (string, bool) { return s, len(name) > 1 })
	})
}

func FuzzMaster(f *testing.F) {
	f.Add("smtp inet n - n - - smtpd -o { a = b } -o c=d -v -- x {y z}\n")
	f.Add("pipe unix - n n 60? 10 pipe\n  flags=R argv=/x\n")
	f.Fuzz(func(t *testing.T, text string) {
		ParseMaster("/fuzz", text)
	})
}

func BenchmarkParse(b *testing.B) {
	a, err := txtar.ParseFile("../postconf/testdata/samples/5-submission-sasl.txtar")
	if err != nil {
		b.Fatal(err)
	}
	text := string(a.Files[0].Data)
	for b.Loop() {
		m, err := Parse("/x", text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Get[Core](m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCatalog(b *testing.B) {
	for b.Loop() {
		readCatalog()
	}
}

// BenchmarkField is how the hot paths look settings up: a field of a decoded struct.
func BenchmarkField(b *testing.B) {
	s, err := Get[testSettings](Empty("/x"))
	if err != nil {
		b.Fatal(err)
	}
	var sum int64
	for b.Loop() {
		sum += s.Limit
	}
	if sum == 0 {
		b.Fatal("message_size_limit is 0")
	}
}

// BenchmarkExpand is what a name costs where no field can be used: a parameter of one
// delivery transport.
func BenchmarkExpand(b *testing.B) {
	m, err := Parse("/x", "default_destination_recipient_limit = 7\n")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if v, _, err := m.Expand("slow_destination_recipient_limit"); v != "7" || err != nil {
			b.Fatal(v, err)
		}
	}
}
