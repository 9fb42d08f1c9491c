package procedures

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/doveconf"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
	"github.com/dovetail-mail/dovetail/internal/conf/postconf"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"

	// Linking a package declares its settings.
	_ "github.com/dovetail-mail/dovetail/internal/mda/service"
	_ "github.com/dovetail-mail/dovetail/internal/mta"
)

func TestMain(m *testing.M) {
	flavor.Name = "debian" // that of the originals the tests compare with
	os.Exit(m.Run())
}

var ours = map[string]func(args []string, stdin io.Reader, stdout, stderr io.Writer) int{
	"doveconf": doveconf.Main,
	"postconf": (&postconf.Tool{}).Main,
}

// compare runs the original and our program. Both must succeed and print the
// same, with the lines that the procedure wants; or fail as it says.
func compare(t *testing.T, name string, args []string, p procedure) {
	t.Helper()
	var stdout, stderr, originalStderr bytes.Buffer
	status := ours[name](args, strings.NewReader(""), &stdout, &stderr)
	cmd := exec.Command(name, args...)
	cmd.Stderr = &originalStderr
	original, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatalf("%v: run test/install-packages", err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status || (p.fatal != "") != (status != 0) {
		t.Fatalf("exit status %d, of the original %d\n%s%s", status, got, &stderr, &originalStderr)
	}
	if p.fatal != "" && (stderr.String() != p.fatal || originalStderr.String() != p.fatal) {
		t.Errorf("we say %q, the original %q, and %q is what it should be", &stderr, &originalStderr, p.fatal)
	}
	printed := settings(string(original))
	if diff := cmp.Diff(printed, settings(stdout.String())); diff != "" {
		t.Errorf("we print other settings than the original: %s", diff)
	}
	for _, line := range p.want {
		if !slices.Contains(printed, line) {
			t.Errorf("%s does not print %q", name, line)
		}
	}
}

// settings are the lines that are no comments, but for what Dovecot adds if
// Pigeonhole's programs are installed.
func settings(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "managesieve_notify_cap") && !strings.HasPrefix(line, "managesieve_sieve_cap") {
			lines = append(lines, line)
		}
	}
	return lines
}

// 1.9: all settings may as well be in one file.
func TestOneFile(t *testing.T) {
	for _, p := range dovecotProcedures {
		t.Run(p.number, func(t *testing.T) {
			etc := install(t)
			follow(t, dovecotProcedures, p, etc)
			one := filepath.Join(t.TempDir(), "dovecot.conf")
			if err := os.WriteFile(one, []byte(flatten(t, filepath.Join(etc, "dovecot"), "dovecot.conf")), 0o644); err != nil {
				t.Fatal(err)
			}
			compare(t, "doveconf", []string{"-n", "-c", one}, p)
			var many, single bytes.Buffer
			doveconf.Main([]string{"-n", "-c", etc + "/dovecot/dovecot.conf"}, nil, &many, io.Discard)
			doveconf.Main([]string{"-n", "-c", one}, nil, &single, io.Discard)
			if diff := cmp.Diff(settings(many.String()), settings(single.String())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// flatten replaces the include statements of a file by what they include.
func flatten(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		pattern, ok := strings.CutPrefix(strings.TrimSpace(line), "!include ")
		if strings.HasPrefix(line, "!include_try ") {
			continue
		}
		if !ok {
			out.WriteString(line)
			continue
		}
		paths, err := filepath.Glob(filepath.Join(dir, filepath.Dir(name), pattern))
		if err != nil || paths == nil {
			t.Fatalf("%s includes %s: there is none", name, pattern)
		}
		for _, path := range paths {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				t.Fatal(err)
			}
			out.WriteString(flatten(t, dir, rel))
		}
	}
	return out.String()
}

// What the packages install starts without a complaint about a setting that must
// not be ignored.
func TestStockFilesAreNotRefused(t *testing.T) {
	etc := install(t)
	c, err := dovecot.Load(etc + "/dovecot/dovecot.conf")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Refused(); err != nil {
		t.Error(err)
	}
	m, err := postfix.Load(etc + "/postfix")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Refused(); err != nil {
		t.Error(err)
	}
	if _, err := postfix.LoadMaster(etc + "/postfix"); err != nil {
		t.Error(err)
	}
}
