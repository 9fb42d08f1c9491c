package dump

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A result is what a run of dump led to.
type result struct {
	Out, Err string
	Code     int
}

func ours(args ...string) result {
	var out, errs bytes.Buffer
	code := Main(args, &out, &errs)
	return result{out.String(), errs.String(), code}
}

// original runs the real doveadm dump.
func original(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, exec.Command(doveadm(t), append([]string{"-O", "dump"}, args...)...))
}

func doveadm(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("doveadm")
	if err != nil {
		t.Fatal("doveadm is not installed: run test/install-packages")
	}
	return path
}

func run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// paths returns the files and directories of a tree, and the indexes that are there
// only as logs.
func paths(t *testing.T, root string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		list = append(list, path)
		if base, ok := strings.CutSuffix(path, ".log"); ok {
			list = append(list, base)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// compareTree compares both programs' output about everything in a tree.
func compareTree(t *testing.T, root string) (compared int) {
	t.Helper()
	for _, path := range paths(t, root) {
		if diff := cmp.Diff(original(t, path), ours(path)); diff != "" {
			t.Errorf("dump %s (-original +ours):\n%s", path, diff)
		}
		compared++
	}
	return compared
}

func TestSamplesAreShownAsByTheOriginal(t *testing.T) {
	for _, sample := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(sample, func(t *testing.T) {
			dir := t.TempDir()
			archive := "../../store/mailbox/testdata/" + sample + "-2.3.19.tar.gz"
			if out, err := exec.Command("tar", "xzf", archive, "-C", dir).CombinedOutput(); err != nil {
				t.Fatalf("tar: %v\n%s", err, out)
			}
			if n := compareTree(t, dir); n < 20 {
				t.Errorf("compared %d files only", n)
			}
		})
	}
}

func TestInvocation(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(dir, "missing")
	text := write("text", "no format at all\n")
	for _, args := range [][]string{
		{}, {"-t"}, {"-x", text}, {"-t", "bogus", text}, {text}, {missing}, {missing, "-t", "log"},
		{"-t", "index", missing}, {"-t", "log", missing}, {"-t", "mailboxlog", missing}, {"-t", "dbox", missing},
		{"-t", "thread", missing}, {"-t", "imapzlib", missing}, {"-tdbox", text}, {"-t", "mailboxlog", text}, {"-t", "log", text},
		{"-t", "dbox", write("short", "2 M1e C6b02ae1c\n\x01\x02N")}, {"-t", "dbox", write("v3", "3 M1e C6b02ae1c\n")},
		{write("u.1", "2 C6b02ae1c\n")}, {write("u.2", "2 M1e C6b02ae1c Xy\n\x01\x02N          0000000000000001\nx\n\x01\x03\nG1\nRzz\n\n")},
		{write("u.3", "2 M1e C0\n\x01\x02N          0000000000000001\nx\n\x01\x03\nG1\nE1\nR0\nQ\n")},
		{write("u.4", "")}, {write("mailboxes.log", "\x01\x00\x00\x00rest")}, {"--", text},
	} {
		if diff := cmp.Diff(original(t, args...), ours(args...)); diff != "" {
			t.Errorf("dump %q (-original +ours):\n%s", args, diff)
		}
	}
}
