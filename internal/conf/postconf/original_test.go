package postconf

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

// An outcome is what one run of postconf did.
type outcome struct {
	Stdout string
	Stderr []string // sorted: Postfix goes through hash tables
	Status int
	Files  map[string]string // afterwards
	Modes  map[string]string
}

// own are settings that differ in each run, or from Postfix 3.7 on purpose.
var own = []string{"process_id", "smtpd_forbid_bare_newline"}

// A directory is a configuration directory in testing.
type directory struct {
	path  string
	files []txtar.File
}

// reset writes the files. They are made old: Postfix reads a new file several times.
func (d *directory) reset(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(d.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.path, 0o755); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, f := range d.files {
		name := filepath.Join(d.path, f.Name)
		writeFile(t, name, strings.ReplaceAll(string(f.Data), "@DIR@", d.path))
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *directory) outcome(t *testing.T, stdout, stderr string, status int) outcome {
	t.Helper()
	o := outcome{Stdout: strings.Join(without(stdout, own), ""), Status: status, Files: map[string]string{}, Modes: map[string]string{}}
	o.Stderr = slices.Sorted(strings.Lines(stderr))
	entries, err := os.ReadDir(d.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(d.path, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		// After an error Postfix leaves the unfinished file behind.
		if status == 0 || !strings.HasSuffix(e.Name(), ".tmp") {
			o.Files[e.Name()], o.Modes[e.Name()] = string(text), info.Mode().String()
		}
	}
	return o
}

func (d *directory) original(t *testing.T, args []string) outcome {
	t.Helper()
	d.reset(t)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("postconf", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: run test/install-packages", err)
	}
	return d.outcome(t, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode())
}

func (d *directory) ours(t *testing.T, args []string) outcome {
	t.Helper()
	d.reset(t)
	stdout, stderr, status := run(args...)
	return d.outcome(t, strings.Join(without(stdout, backported()), ""), stderr, status)
}

// TestOriginal runs commands with an installed postconf and with ours on the same files
// and compares output, exit status and the files afterwards. Each file of
// testdata/original has configuration files, and command lines in "commands".
func TestOriginal(t *testing.T) {
	paths, err := filepath.Glob("testdata/original/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal(err, paths)
	}
	var wg sync.WaitGroup
	limit := make(chan bool, 16) // after an error Postfix's waits a second
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "commands" })
		commands := string(a.Files[i].Data)
		files := slices.Delete(slices.Clone(a.Files), i, i+1)
		base := t.TempDir()
		num := 0
		for line := range strings.Lines(commands) {
			if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
				continue
			}
			num++
			d := &directory{path: filepath.Join(base, fmt.Sprint(num)), files: files}
			args := append([]string{"-c", d.path}, words(strings.ReplaceAll(line, "@DIR@", d.path))...)
			limit <- true
			wg.Go(func() {
				defer func() { <-limit }()
				want := d.original(t, args)
				got := d.ours(t, args)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: postconf %s\n%s", filepath.Base(path), line, strings.ReplaceAll(diff, d.path, "DIR"))
				}
			})
		}
	}
	wg.Wait()
}

// words splits a command line at blanks outside '...'. \n in quotes is a newline.
func words(line string) []string {
	var out []string
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		var word strings.Builder
		for line != "" && line[0] != ' ' {
			if line[0] != '\'' {
				word.WriteByte(line[0])
				line = line[1:]
				continue
			}
			quoted, rest, _ := strings.Cut(line[1:], "'")
			word.WriteString(strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(quoted))
			line = rest
		}
		out = append(out, word.String())
	}
	return out
}
