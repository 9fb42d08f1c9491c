package db

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseFile(t *testing.T) {
	var reports []string
	report := func(format string, args ...any) { reports = append(reports, fmt.Sprintf(format, args...)) }
	text := "# comment\n\nalice:{PLAIN}x:1:2:gecos:/home/a:sh:a=1  allow_nets=::1,10.0.0.0/8\nshort:pw\nroot:x:0:0\nalice:again\nold:hash[13]:1:1\r\n:noname\nlast:pw:5"
	table := parseFile([]byte(text), true, report)
	want := []string{"User short is missing userdb info", "User root has invalid UID '0'", "User alice exists more than once"}
	if d := cmp.Diff(want, reports); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"alice", "short", "root", "alice", "old", "last"}, table.order); d != "" {
		t.Error(d)
	}
	alice := &fileEntry{
		password: "{PLAIN}x", uid: "1", gid: "2", home: "/home/a", shell: "sh", isUser: true,
		extra: []Field{{Name: "a", Value: "1"}, {Name: "allow_nets", Value: "::1,10.0.0.0/8"}},
	}
	if d := cmp.Diff(alice, table.users["alice"], cmp.AllowUnexported(fileEntry{})); d != "" {
		t.Error(d)
	}
	if e := table.users["old"]; e == nil || e.password != "{CRYPT}hash" {
		t.Errorf("old: %+v", e)
	}
	if table.users["root"] != nil || table.users["short"].isUser || table.users["last"].uid != "5" {
		t.Error("root, short or last is wrong")
	}
}

// TestReread changes a file that has been read.
func TestReread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alice:x\n")
	f := &userFile{path: path}
	has := func(name string) bool {
		t.Helper()
		f.checked.Store(time.Now().Add(-2 * checkInterval).UnixNano())
		table, err := f.get()
		if err != nil {
			t.Fatal(err)
		}
		return table.users[name] != nil
	}
	if !has("alice") || has("bob") {
		t.Error("first content")
	}
	before := f.table.Load()
	if !has("alice") || f.table.Load() != before {
		t.Error("an unchanged file was read again")
	}
	write("alice:x\nbob:x\n")
	if !has("bob") {
		t.Error("the change was not seen")
	}
	os.Remove(path)
	f.checked.Store(0)
	if _, err := f.get(); err == nil {
		t.Error("a missing file is no error")
	}
	write("carol:x\n")
	if !has("carol") {
		t.Error("the file was not read again after an error")
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("alice:{PLAIN}x:1:2:gecos:/home/a:sh:a=1 b\n#c\n\nbob:x[13]:0\r\n"))
	f.Add([]byte(":::\na:::::::::\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		table := parseFile(data, false, func(string, ...any) {})
		if len(table.users) > len(table.order) {
			t.Errorf("%d users on %d lines", len(table.users), len(table.order))
		}
	})
}
