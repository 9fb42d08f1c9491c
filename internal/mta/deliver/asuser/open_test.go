package asuser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenAppend(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("x"), 0o600), os.WriteFile(at("twice"), nil, 0o600), os.Link(at("twice"), at("again")),
		os.Mkdir(at("directory"), 0o700), os.Symlink("file", at("link")), os.Symlink("nowhere", at("dangling")), unix.Mkfifo(at("fifo"), 0o600),
		os.Chmod(dir, 0o777),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"file": "", "new": "", "twice": "file has 2 hard links", "directory": "cannot open file: Is a directory",
		"link": "file is a symbolic link", "dangling": "cannot create file exclusively: File exists",
		"fifo": "cannot open file: No such device or address", "none/file": "cannot create file exclusively: No such file or directory",
	} {
		f, st, err := openAppend(at(name), nil)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			if st.Nlink != 1 {
				t.Errorf("%s: %d links", name, st.Nlink)
			}
			f.Close()
		}
		if name == "dangling" && strings.HasPrefix(got, "cannot open file") {
			continue // the second look finds the link again, and nothing behind it
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, err := os.Stat(at("nowhere")); err == nil {
		t.Error("a file was made through a symbolic link")
	}
}

func TestMakeDirectories(t *testing.T) {
	dir := t.TempDir()
	if err := makeDirectories(dir + "/a//b/c/"); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(dir + "/a/b/c")
	if err != nil || !st.IsDir() || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st, err)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeDirectories(dir + "/file/x/"); err != unix.ENOTDIR {
		t.Errorf("%v", err)
	}
}

func TestLimited(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &limited{fd: int(f.Fd()), limit: 10}
	if n, err := w.Write([]byte("0123456789")); n != 10 || err != nil {
		t.Error(n, err)
	}
	if n, err := w.Write([]byte("x")); n != 0 || err != unix.EFBIG {
		t.Error(n, err)
	}
}

func TestLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	l := Locks{Attempts: 1, Delay: 1, Stale: 1 << 62}
	if err := l.dotLock(path); err != nil {
		t.Fatal(err)
	}
	if err := l.dotLock(path); mailboxDSN(err, "5.2.0") != "5.2.0" || !strings.HasSuffix(err.Error(), "box.lock: File exists") {
		t.Errorf("%v", err)
	}
	l.Stale, l.Attempts = 0, 2
	if err := l.dotLock(path); err != nil {
		t.Errorf("a stale lock: %v", err)
	}
	dotUnlock(path)
	if _, err := os.Stat(path + ".lock"); err == nil {
		t.Error("the lock is still there")
	}
	for value, want := range map[string]string{
		"fcntl, dotlock": "", "FLOCK": "", "": "parameter p specifies no applicable mailbox locking method",
		"fcntl, x": `unknown p value "x" in "fcntl, x"`,
	} {
		if _, err := parseLocks("p", value); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%q: %v", value, err)
		}
	}
}
