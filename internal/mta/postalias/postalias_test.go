package postalias

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// stamp is what differs from one second to the next.
var stamp = regexp.MustCompile(`(YP_LAST_MODIFIED:?\s+)\d+`)

// result is what a run shows.
type result struct {
	out, err string
	status   int
}

func tidy(out, errs, dir string, status int) result {
	lines := strings.SplitAfter(stamp.ReplaceAllString(out, "$1"), "\n")
	slices.Sort(lines) // a listing has the order of the table's hash function
	return result{strings.Join(lines, ""), strings.ReplaceAll(errs, dir, "DIR"), status}
}

func ours(dir, stdin string, args []string) result {
	var out, errs bytes.Buffer
	status := Main(args, strings.NewReader(stdin), &out, &errs)
	return tidy(out.String(), errs.String(), dir, status)
}

func theirs(t *testing.T, dir, stdin string, args []string) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("/usr/sbin/postalias", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatalf("postalias: %v: run test/install-packages", err)
	}
	return tidy(out.String(), errs.String(), dir, cmd.ProcessState.ExitCode())
}

const source = `# comment
Postmaster: root
list: a,b  ,  "|/bin/cmd arg", /file,:include:/x (comment), <c@d>,
  Foo Bar <x@y>
nocolon
empty:
"quoted user": x
"a:b": c
u@d: x
p%q: x
a,b: c
: x
list: dup
"a b"@c: z
q: "a\"b", c\,d
who: a b c
unb: "abc
x: (c) y
A B: c
group: foo:bar,baz;
pipe: |/bin/sh -c "a b"
mixed: \root, root@[192.0.2.1], "with \\ backslash"@x
` + "\xe9: z\nutf: \xc3\xa9\nbad: \xe9\n"

// Both programs, given the same commands in directories of their own, print the same, end
// with the same status and make tables of the same content.
func TestAgreesWithPostfix(t *testing.T) {
	dirs := [2]string{t.TempDir(), t.TempDir()}
	past := time.Now().Add(-time.Hour)
	write := func(name, text string) {
		t.Helper()
		for _, dir := range dirs {
			name := filepath.Join(dir, name)
			if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, past, past); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("al", source)
	steps := []struct{ stdin, args string }{
		{"", "hash:DIR/al"},
		{"", "-s hash:DIR/al"},
		{"list\nnone\nLIST\nquoted user\n", "-q - hash:DIR/al"},
		{"", "-q a:b hash:DIR/al"},
		{"", "-f -q YP_MASTER_NAME hash:DIR/al"},
		{"", "-q YP_MASTER_NAME hash:DIR/al"},
		{"list: z\nnew: \"|cmd\"\n", "-i hash:DIR/al"},
		{"list: z\n", "-ri hash:DIR/al"},
		{"list: y\n", "-wi hash:DIR/al"},
		{"", "-s hash:DIR/al"},
		{"", "-d list hash:DIR/al"},
		{"", "-d list hash:DIR/al"},
		{"who\nnone\n", "-d - hash:DIR/al"},
		{"", "btree:DIR/al"}, // over a hash file
		{"", "lmdb:DIR/al cdb:DIR/al"},
		{"", "-s lmdb:DIR/al"},
		{"", "-q list cdb:DIR/al"},
		{"", "-d x cdb:DIR/al"},
		{"", "-u hash:DIR/al"},
		{"", "-n hash:DIR/al"},
		{"", "-s hash:DIR/al"},
		{"", "-f hash:DIR/al"},
		{"", "-s hash:DIR/al"},
		{"", "-q list -d list hash:DIR/al"},
		{"", "-s -q list hash:DIR/al"},
		{"", "-q list -s hash:DIR/al"},
		{"", "-x"},
		{"", "-q"},
		{"", ""},
		{"", "-s"},
		{"", "hash:DIR/missing"},
		{"", "regexp:DIR/al"},
		{"", "-d x regexp:DIR/al"},
		{"", "-d x static:y"},
	}
	// Debian's libdb says more to the terminal.
	for i, step := range steps {
		args := func(dir string) []string { return strings.Fields(strings.ReplaceAll(step.args, "DIR", dir)) }
		if step.args == "btree:DIR/al" {
			for _, dir := range dirs {
				if err := os.Remove(filepath.Join(dir, "al.db")); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := theirs(t, dirs[0], step.stdin, args(dirs[0]))
		got := ours(dirs[1], step.stdin, args(dirs[1]))
		if got != want {
			t.Errorf("step %d: postalias %s\n got %+v\nwant %+v", i+1, step.args, got, want)
		}
		if i > 10 && step.args == "btree:DIR/al" {
			for _, dir := range dirs {
				if err := os.Remove(filepath.Join(dir, "al.db")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// Each goes on with what the other made.
	if got := ours(dirs[0], "", []string{"-q", "list", "hash:" + dirs[0] + "/al"}); got.status != 0 {
		t.Errorf("ours reads Postfix's file: %+v", got)
	}
	if got := theirs(t, dirs[1], "dave: d\n", []string{"-i", "hash:" + dirs[1] + "/al"}); got.status != 0 {
		t.Errorf("Postfix adds to our file: %+v", got)
	}
}

// Lines put together at random from what has a meaning in an alias file are understood alike.
func TestGeneratedSources(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 22))
	pieces := []string{"a", "Bob", "x.y", ":", ":", ",", "\"", "\\", "@", "%", "!", "|", "/f", ":include:/l", "(", ")", "<", ">", ";", "[", "]", " ", "  ", "\t", "#", "\"q r\"", "(c)", ".", "'"}
	var text strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&text, "k%d", i)
		if r.IntN(3) > 0 {
			text.WriteString(": ")
		}
		for range 1 + r.IntN(12) {
			text.WriteString(pieces[r.IntN(len(pieces))])
		}
		text.WriteString("\n")
	}
	dirs := [2]string{t.TempDir(), t.TempDir()}
	past := time.Now().Add(-time.Hour)
	for _, dir := range dirs {
		name := filepath.Join(dir, "al")
		if err := os.WriteFile(name, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, past, past); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range []string{"btree:DIR/al", "-s btree:DIR/al"} {
		want := theirs(t, dirs[0], "", strings.Fields(strings.ReplaceAll(args, "DIR", dirs[0])))
		got := ours(dirs[1], "", strings.Fields(strings.ReplaceAll(args, "DIR", dirs[1])))
		if got.status != want.status {
			t.Errorf("postalias %s: %+v", args, got)
		}
		compareLines(t, got.out, want.out)
		compareLines(t, got.err, want.err)
	}
}

func compareLines(t *testing.T, got, want string) {
	t.Helper()
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("line %d: got\n%s\nwant\n%s", i+1, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d lines, want %d", len(a), len(b))
	}
}
