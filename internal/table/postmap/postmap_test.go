package postmap

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
var reason = regexp.MustCompile(`(query error): .*`)

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

// message has parts in parts, and an attached message.
const message = "Subject: hello\n world\nContent-Type: multipart/mixed;\n boundary=\"b b\"\n\npreamble\n--b b\nContent-Type: text/plain\n\n" +
	"inner: body\n--b b\nContent-Type: multipart/alternative; boundary=cc; x=y\n\n--cc\nContent-Type: text/html\nX-Part: 1\n\nhtml\n--cc--\nbetween\n--b b\n" +
	"Content-Type: message/rfc822\nX-Outer: 1\n\nSubject: nested\nContent-Type: text/plain\n\nnested body\n--b b--\nafter\n"

// The same commands, in the same order, in two directories: one by Postfix's
// postmap, one by ours. Output, warnings and exit status are the same, and
// each can go on with the file of the other.
func TestAgreesWithPostfix(t *testing.T) {
	t.Parallel()
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
		{"", "-s texthash:DIR/t"},
		{"", "-q alice texthash:DIR/t"},
		{"", "-m -q - hash:DIR/t"},
		{"", "-F hash:DIR/files"},
		{"", "-F -q k hash:DIR/files"},
		{"", "-q k hash:DIR/files"},
		{"bad x!\n", "-i hash:DIR/files"},
		{"", "-F -q bad hash:DIR/files"},
		{"", "-F -q k texthash:DIR/files"},
		{"", "btree:DIR/b lmdb:DIR/b cdb:DIR/b"},
		{"", "-s btree:DIR/b"},
		{"", "-s lmdb:DIR/b"},
		{"", "-s cdb:DIR/b"},
		{"b\nnone\n\xe9\nb\n", "-q - lmdb:DIR/b cdb:DIR/b"},
		{"", "-N cdb:DIR/b"},
		{"", "-n -f btree:DIR/b"},
		{"", "-f -q B btree:DIR/b"},
		{"", "-q b cdb:DIR/b"},
		{"", "-d b cdb:DIR/b"},
		{"", "-i cdb:DIR/b"},
		{"", "-d b lmdb:DIR/b"},
		{"", "-d b lmdb:DIR/b"},
		{"b\nC\n", "-d - btree:DIR/b lmdb:DIR/b"},
		{"", "-q \xe9 btree:DIR/utf8"},
		{"", "btree:DIR/utf8"},
		{"", "-s btree:DIR/utf8"},
		{"", "-u btree:DIR/utf8"},
		{"", "-s btree:DIR/utf8"},
		{"", "-q raw btree:DIR/utf8"},
		{"", "-u -q raw btree:DIR/utf8"},
		{"", "-q \xe9 btree:DIR/utf8"},
		{"", "-q x hash:DIR/old"},
		{message, "-hq - regexp:DIR/re"},
		{message, "-bq - regexp:DIR/re"},
		{message, "-hbq - regexp:DIR/re"},
		{message, "-hmq - regexp:DIR/re"},
		{message, "-bmq - regexp:DIR/re"},
		{message, "-hbmq - regexp:DIR/re"},
		{"no header\nSubject: x\n", "-hbq - regexp:DIR/re"},
		{"", "-hbq - regexp:DIR/re"},
	}
	ours, theirs := t.TempDir(), t.TempDir()
	for _, dir := range []string{ours, theirs} {
		for name, text := range map[string]string{
			"t": source, "f1": "one\n", "f2": "two", "files": "k DIR/f1, DIR/f2\nnone DIR/nothing\nraw x\n",
			"b": "B 1\nc 2 \n", "utf8": "\xc3\x89 \xc3\x89a\nraw \xe9\n\xe9 x\nok 1\n", "re": "/^(.*)$/ m:$1\n", "old": "a b\n", "old.db": "",
		} {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o640); err != nil {
				t.Fatal(err)
			}
			past := time.Now().Add(-time.Hour)
			if err := os.Chtimes(file, past, past); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.Command("/usr/sbin/postmap", "hash:"+dir+"/old").CombinedOutput(); err != nil {
			t.Fatalf("postmap: %v\n%s", err, out)
		}
		past := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, "old.db"), past, past); err != nil {
			t.Fatal(err)
		}
	}
	for i, step := range steps {
		compareStep(t, fmt.Sprintf("step %d", i+1), ours, theirs, step.stdin, step.args)
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

// compareStep runs one command in both directories.
func compareStep(t *testing.T, name, ours, theirs, stdin, words string) {
	t.Helper()
	args := func(dir string) []string { return strings.Fields(strings.ReplaceAll(words, "DIR", dir)) }
	want := runPostfix(t, theirs, stdin, args(theirs))
	got := runOurs(ours, stdin, args(ours))
	// What follows "query error" is whatever was the last error of a system call.
	got.err, want.err = reason.ReplaceAllString(got.err, "$1"), reason.ReplaceAllString(want.err, "$1")
	if got != want {
		t.Errorf("%s: postmap %s\n got %+v\nwant %+v", name, words, got, want)
	}
}

// Commands that change nothing, most of them wrong. Postfix's postmap waits for a second before it
// ends with an error, so they run at once.
func TestMistakesAgreeWithPostfix(t *testing.T) {
	for _, step := range []struct{ stdin, args string }{
		{"", "-q a static:yes"},
		{"", "-q a nosuch:x"},
		{"", "nosuch:DIR/t"},
		{"", "regexp:DIR/t"},
		{"", "hash:DIR/missing"},
		{"", "-q alice texthash:DIR/missing"},
		{"", "-q x -d y hash:DIR/t"},
		{"", "-q x -s hash:DIR/t"},
		{"", "-s -q x hash:DIR/t"},
		{"", "-x"},
		{"", "-q"},
		{"", ""},
		{"", "-s"},
		{"", "-h -q x hash:DIR/t"},
		{"", "-d x hash:DIR/missing"},
		{"", "-d x lmdb:DIR/missing"},
		{"", "-d x texthash:DIR/t"},
		{"", "-d x static:y"},
		{"", "-d x environ:y"},
		{"", "-d x internal:y"},
		{"", "-s static:y"},
		{"", "-s internal:y"},
		{"", "-q x cdb:DIR/missing"},
		{"", "-q x pcre:DIR/missing"},
		{"", "nocolon:"},
		{"", ":x"},
		{"", "-q x inline:{}"},
		{"", "-q x inline:{a}"},
		{"", "-q x randmap:x"},
		{"", "-q x pipemap:x"},
		{"", "-q x unix:foo"},
		{"", "-q root unix:passwd.byname"},
		{"", "-q root unix:group.byname"},
		{"", "-q x fail:x"},
	} {
		t.Run(step.args, func(t *testing.T) {
			t.Parallel()
			dirs := [2]string{t.TempDir(), t.TempDir()}
			for _, dir := range dirs {
				if err := os.WriteFile(filepath.Join(dir, "t"), []byte("a b\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			compareStep(t, "alone", dirs[0], dirs[1], step.stdin, step.args)
		})
	}
}

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "16") //nolint:errcheck // it exists
	os.Exit(m.Run())
}
