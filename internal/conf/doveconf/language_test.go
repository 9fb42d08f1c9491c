package doveconf

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

// original runs the installed doveconf.
func original(t testing.TB, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("doveconf", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: run test/install-packages", err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// comparable removes what differs by nature: the header, and what Pigeonhole's
// process reports, which reads the configuration too and sets what it announces unless it fails.
func (o outcome) comparable() outcome {
	var lines, last []string
	for line := range strings.Lines(o.Stderr) {
		switch {
		case slices.Contains(lines, line) || slices.Contains(last, line),
			strings.HasPrefix(line, "managesieve: "), strings.Contains(line, "dump-capability"):
		case strings.HasPrefix(line, "doveconf: Fatal: ") && o.Status == 0: // in that process
		case strings.HasPrefix(line, "doveconf: Fatal: "):
			last = []string{line} // others are of that process
		default:
			lines = append(lines, line)
		}
	}
	var b strings.Builder
	for line := range strings.Lines(sameHeader(o.Stdout)) {
		if !strings.HasPrefix(line, "managesieve_sieve_cap") && !strings.HasPrefix(line, "managesieve_notify_cap") {
			b.WriteString(line)
		}
	}
	o.Stdout, o.Stderr = b.String(), strings.Join(append(lines, last...), "")
	return o
}

// compare runs both programs.
func compare(t *testing.T, args ...string) {
	t.Helper()
	if diff := cmp.Diff(original(t, args...).comparable(), doveconf(args...).comparable()); diff != "" {
		t.Errorf("doveconf %s\n%s", strings.Join(args, " "), diff)
	}
}

// TestLanguage compares what both programs make of small configurations, one a line.
func TestLanguage(t *testing.T) {
	cases, err := os.ReadFile("testdata/language.txt")
	if err != nil {
		t.Fatal(err)
	}
	decode := strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\0`, "\x00", `\r`, "\r", `\t`, "\t")
	for line := range strings.Lines(string(cases)) {
		if line[0] == '#' {
			continue
		}
		line = strings.TrimSuffix(line, "\n")
		t.Run(line, func(t *testing.T) {
			t.Parallel() // the original starts other programs and waits for them
			path := filepath.Join(t.TempDir(), "dovecot.conf")
			if err := os.WriteFile(path, []byte(decode.Replace(line)), 0o644); err != nil {
				t.Fatal(err)
			}
			compare(t, "-n", "-c", path)
		})
	}
}
