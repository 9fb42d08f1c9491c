package flavor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

func TestMain(m *testing.M) {
	flavor.Name = "debian" // what the tests compare with
	os.Exit(m.Run())
}

// rows returns the table's rows.
func rows(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("flavors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for line := range strings.Lines(string(text)) {
		if line[0] != '#' {
			out = append(out, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
	}
	return out
}

func TestRowsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range rows(t) {
		if len(row) != 4 || row[0] != "dovecot" && row[0] != "postfix" || !slices.Contains(flavor.Names()[1:], row[1]) {
			t.Errorf("%q: want program, flavor, setting, default", row)
			continue
		}
		if id := strings.Join(row[:3], " "); seen[id] {
			t.Errorf("%s is there twice", id)
		} else {
			seen[id] = true
		}
	}
}

func TestNamesAreSettings(t *testing.T) {
	known := map[string]bool{}
	for _, s := range dovecot.Settings() {
		known["dovecot "+s.Path] = true
	}
	for _, p := range postfix.Params() {
		known["postfix "+p.Name] = true
	}
	for _, row := range rows(t) {
		if !known[row[0]+" "+row[2]] {
			t.Errorf("%s has no setting %s", row[0], row[2])
		}
	}
}

// found at run time by the process that prints them
var capabilities = []string{"managesieve_notify_capability", "managesieve_sieve_capability"}

func TestDebianDefaultsAreDovecots(t *testing.T) {
	want := map[string]string{}
	for _, s := range dovecot.Settings() {
		want[s.Path] = s.Default
		if def, ok := flavor.Dovecot(s.Path); ok {
			want[s.Path] = def
		}
	}
	checked := 0
	for line := range strings.Lines(original(t, "doveconf", "-a", "-c", "/dev/null")) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " = ")
		if !ok || strings.HasPrefix(name, " ") || strings.HasPrefix(name, "#") || slices.Contains(capabilities, name) {
			continue
		}
		if len(value) > 1 && value[0] == '"' {
			value = strings.Trim(value, `"`)
		}
		if def, ok := want[name]; !ok {
			t.Errorf("%s is not known", name)
		} else if def != value {
			t.Errorf("%s: the default is %q, in Debian it is %q", name, def, value)
		}
		checked++
	}
	if checked < 300 {
		t.Errorf("doveconf printed %d settings", checked)
	}
}

func TestDebianDefaultsArePostfixs(t *testing.T) {
	want := map[string]string{}
	computed := map[string]bool{}
	for _, p := range postfix.Params() {
		want[p.Name], computed[p.Name] = p.Default, p.Computed
		if def, ok := flavor.Postfix(p.Name); ok {
			want[p.Name] = def
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"main.cf", "master.cf"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	checked := 0
	for line := range strings.Lines(original(t, "postconf", "-c", dir, "-d")) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " =")
		value = strings.TrimPrefix(value, " ")
		if name == "smtpd_forbid_bare_newline" { // Debian's lets forged mail in
			continue
		}
		if def, ok := want[name]; !ok {
			t.Errorf("%s is not known", name)
		} else if def != value && !computed[name] {
			t.Errorf("%s: the default is %q, in Debian it is %q", name, def, value)
		}
		checked++
	}
	if checked < 800 {
		t.Errorf("postconf printed %d parameters", checked)
	}
}

// original runs a program of the installed packages.
func original(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v: run test/install-packages", name, err)
	}
	return string(out)
}
