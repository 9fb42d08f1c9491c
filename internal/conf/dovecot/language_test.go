package dovecot

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLanguage runs doveconf -n and Load on the same small configurations and
// compares errors, warnings and values.
func TestLanguage(t *testing.T) {
	if _, err := exec.LookPath("doveconf"); err != nil {
		t.Fatal("doveconf is not installed: run test/install-packages")
	}
	cases, err := os.ReadFile("testdata/language.txt")
	if err != nil {
		t.Fatal(err)
	}
	decode := strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\0`, "\x00", `\r`, "\r", `\t`, "\t")
	for ln := range strings.Lines(string(cases)) {
		if ln[0] == '#' {
			continue
		}
		ln = strings.TrimSuffix(ln, "\n")
		t.Run(ln, func(t *testing.T) {
			t.Parallel() // doveconf starts other programs and waits for them
			compareWithDoveconf(t, decode.Replace(ln))
		})
	}
}

func compareWithDoveconf(t *testing.T, text string) {
	path := filepath.Join(t.TempDir(), "dovecot.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := runDoveconf(t, path)
	got := loadOutcome(path)
	for k, v := range want.values {
		if strings.Contains(v, "hidden") || v == "" && got.values[k] == "" {
			delete(want.values, k)
			delete(got.values, k)
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Errorf("%s\n%s", text, diff)
	}
}

// An outcome is what doveconf -n says about a configuration.
type outcome struct {
	err      string
	warnings []string
	values   map[string]string
}

func runDoveconf(t *testing.T, path string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("doveconf", "-n", "-c", path)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	failed := cmd.Run() != nil
	var o outcome
	for ln := range strings.Lines(stderr.String()) {
		ln = strings.TrimSuffix(ln, "\n")
		if w, ok := strings.CutPrefix(ln, "doveconf: Warning: "); ok && !slices.Contains(o.warnings, w) {
			o.warnings = append(o.warnings, w)
		}
		if e, ok := strings.CutPrefix(ln, "doveconf: Fatal: "); ok && failed {
			o.err = e
		}
	}
	var printed []string
	for ln := range strings.Lines(stdout.String()) {
		if !strings.HasPrefix(ln, "# ") && !strings.HasPrefix(ln, "managesieve_") {
			printed = append(printed, ln)
		}
	}
	if !strings.Contains(o.err, " line ") {
		o.values = readPrinted(t, strings.Join(printed, ""))
	}
	return o
}

func loadOutcome(path string) outcome {
	var o outcome
	c, err := Load(path, Literal())
	if err != nil {
		o.err = err.Error()
	}
	var bad *Error
	var warnings []string
	switch {
	case c != nil:
		warnings = c.warnings
	case errors.As(err, &bad):
		warnings = bad.Warnings
	}
	for _, w := range warnings {
		if !slices.Contains(o.warnings, w) {
			o.warnings = append(o.warnings, w)
		}
	}
	if c == nil {
		return o
	}
	o.values = map[string]string{}
	for i, l := range c.layers {
		changed(o.values, layerName(l.cond), l.root, i > 0)
	}
	return o
}
