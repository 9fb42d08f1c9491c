package postconf

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

func TestMain(m *testing.M) {
	flavor.Name = "debian" // what the samples are from
	os.Exit(m.Run())
}

// run runs postconf and returns what it wrote.
func run(args ...string) (stdout, stderr string, status int) {
	var out, errs bytes.Buffer
	t := &Tool{TableTypes: func() []string { return []string{"cidr", "hash"} }}
	status = t.Main(args, strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), status
}

// TestSamples compares complete configurations with what Postfix 3.7's postconf printed
// for each.
func TestSamples(t *testing.T) {
	paths, err := filepath.Glob("testdata/samples/*.txtar")
	if err != nil || len(paths) != 8 {
		t.Fatal(err, paths)
	}
	host, _, _ := run("-dh", "myhostname")
	host = strings.TrimSpace(host)
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		files := map[string]string{}
		for _, f := range a.Files {
			files[f.Name] = string(f.Data)
			if strings.HasSuffix(f.Name, ".cf") {
				writeFile(t, filepath.Join(dir, f.Name), string(f.Data))
			}
		}
		for name, want := range files {
			option, ok := strings.CutPrefix(strings.TrimSuffix(name, ".txt"), "postconf")
			if !ok || strings.HasSuffix(name, ".stderr.txt") {
				continue
			}
			t.Run(filepath.Base(path)+option, func(t *testing.T) {
				stdout, stderr, status := run("-c", dir, option)
				want = strings.ReplaceAll(want, "= host.localdomain", "= "+host)
				if diff := cmp.Diff(want, asDefaultDir(stdout, dir)); diff != "" {
					t.Errorf("stdout: %s", diff)
				}
				want := files["postconf"+option+".stderr.txt"]
				stderr = withoutMissing(strings.ReplaceAll(stderr, dir, "/etc/postfix"), files)
				if diff := cmp.Diff(want, stderr); diff != "" || status != 0 {
					t.Errorf("status %d, stderr: %s", status, diff)
				}
			})
		}
	}
}

// withoutMissing removes the warnings about files of the sample: they are not in
// /etc/postfix here.
func withoutMissing(stderr string, files map[string]string) string {
	lines := slices.Collect(strings.Lines(stderr))
	lines = slices.DeleteFunc(lines, func(line string) bool {
		_, path, _ := strings.Cut(line, " configuration \"/etc/postfix/")
		name, _, _ := strings.Cut(path, "\"")
		return files[name] != ""
	})
	return strings.Join(lines, "")
}

// asDefaultDir makes the output what it would be if the directory were /etc/postfix.
func asDefaultDir(text, dir string) string {
	lines := slices.Collect(strings.Lines(text))
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "config_directory = "+dir+"\n" })
	return strings.Join(lines, "")
}

// TestDefaultSample compares the defaults.
func TestDefaultSample(t *testing.T) {
	want, err := os.ReadFile("../postfix/testdata/defaults.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	master, err := os.ReadFile("testdata/master-debian.cf")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "master.cf"), string(master))
	got, stderr, status := run("-c", dir, "-d")
	if stderr != "" || status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	// What depends on the system, and the one default that is a newer Postfix's.
	own := []string{"myhostname", "mydomain", "mynetworks", "process_id", "smtpd_forbid_bare_newline"}
	own = append(own, backported()...)
	if diff := cmp.Diff(without(string(want), own), without(got, own)); diff != "" {
		t.Error(diff)
	}
}

// backported are the parameters that a Postfix 3.7 does not have.
func backported() []string {
	var names []string
	for _, p := range postfix.Params() {
		if !p.Newer && slices.Contains([]string{"3.8", "3.9", "3.10", "3.11"}, p.Since) {
			names = append(names, p.Name)
		}
	}
	return names
}

// without removes settings.
func without(text string, names []string) []string {
	lines := slices.Collect(strings.Lines(text))
	return slices.DeleteFunc(lines, func(line string) bool {
		name, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " =")
		return slices.Contains(names, name)
	})
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
