package postmap

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// result is what a run of postmap shows.
type result struct {
	out, err string
	status   int
}

func runOurs(dir, stdin string, args []string) result {
	var out, errs bytes.Buffer
	status := Main(args, strings.NewReader(stdin), &out, &errs)
	return result{sorted(out.String()), strings.ReplaceAll(errs.String(), dir, "DIR"), status}
}

// sorted sorts lines: a listing has the order of the table's hash function.
func sorted(text string) string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func runPostfix(t *testing.T, dir, stdin string, args []string) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("/usr/sbin/postmap", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatalf("postmap: %v: run test/install-packages", err)
	}
	// Debian's build adds a hint.
	text := strings.ReplaceAll(errs.String(), ". Is the postfix-nosuch package installed?", "")
	return result{sorted(out.String()), strings.ReplaceAll(text, dir, "DIR"), cmd.ProcessState.ExitCode()}
}

// The same commands, in the same order, in two directories: one by Postfix's
// postmap, one by ours. Output, warnings and exit status are the same, and
// each can go on with the file of the other.
func TestAgreesWithPostfix(t *testing.T) {
	source := "Alice bob\n\"john doe\"@example.com  two  words\n@example.net x\n  continued\nalice again\nnovalue\nold: alias\n"
	steps := []struct {
		stdin string
		args  string
	}{
		{"", "-q alice hash:DIR/t"},
		{"", "hash:DIR/t"},
		{"", "-q ALICE hash:DIR/t"},
		{"", "-q nobody hash:DIR/t"},
		{"alice\nnobody\n@example.net\n", "-q - hash:DIR/t"},
		{"carol c\nalice dup\n", "-i hash:DIR/t"},
		{"carol replaced\n", "-i -r hash:DIR/t"},
		{"", "-q carol hash:DIR/t"},
		{"alice silent\n", "-i -w hash:DIR/t"},
		{"", "-d carol hash:DIR/t"},
		{"", "-d carol hash:DIR/t"},
		{"", "-q carol hash:DIR/t"},
		{"", "-f -q Alice hash:DIR/t"},
		{"", "-q a static:yes"},
		{"", "-q a nosuch:x"},
		{"", "nosuch:DIR/t"},
		{"", "regexp:DIR/t"},
		{"", "hash:DIR/missing"},
		{"", "-s texthash:DIR/t"},
		{"", "-q alice texthash:DIR/t"},
		{"", "-q alice texthash:DIR/missing"},
		{"", "-q x -d y hash:DIR/t"},
	}
	ours, theirs := t.TempDir(), t.TempDir()
	past := time.Now().Add(-time.Hour)
	for _, dir := range []string{ours, theirs} {
		name := filepath.Join(dir, "t")
		if err := os.WriteFile(name, []byte(source), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, past, past); err != nil {
			t.Fatal(err)
		}
	}
	for i, step := range steps {
		args := func(dir string) []string { return strings.Fields(strings.ReplaceAll(step.args, "DIR", dir)) }
		want := runPostfix(t, theirs, step.stdin, args(theirs))
		got := runOurs(ours, step.stdin, args(ours))
		if got != want {
			t.Errorf("step %d: postmap %s\n got %+v\nwant %+v", i+1, step.args, got, want)
		}
	}
	a, err1 := os.Stat(filepath.Join(ours, "t.db"))
	b, err2 := os.Stat(filepath.Join(theirs, "t.db"))
	if err1 != nil || err2 != nil || a.Mode() != b.Mode() {
		t.Errorf("mode of t.db: %v, %v; %v, %v", a, err1, b, err2)
	}
	// Each reads and changes what the other made.
	if got := runOurs(theirs, "", []string{"-q", "alice", "hash:" + theirs + "/t"}); got.out != "bob\n" {
		t.Errorf("ours reads Postfix's file: %+v", got)
	}
	if got := runPostfix(t, ours, "dave d\n", []string{"-i", "hash:" + ours + "/t"}); got.status != 0 {
		t.Errorf("Postfix adds to our file: %+v", got)
	}
	if got := runOurs(ours, "", []string{"-q", "dave", "hash:" + ours + "/t"}); got.out != "d\n" {
		t.Errorf("ours reads what Postfix added: %+v", got)
	}
}
