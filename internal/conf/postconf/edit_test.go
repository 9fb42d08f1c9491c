package postconf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// configDir makes a configuration directory.
func configDir(t testing.TB, main, master string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "main.cf"), main)
	writeFile(t, filepath.Join(dir, "master.cf"), master)
	return dir
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestConcurrentEdits has many edits at once, every other one by Postfix's own postconf: all
// of them must be there afterwards.
func TestConcurrentEdits(t *testing.T) {
	dir := configDir(t, "# nothing yet\n", "")
	const edits = 40
	var wg sync.WaitGroup
	for i := range edits {
		wg.Go(func() {
			setting := fmt.Sprintf("p%d=%d", i, i)
			if i%2 == 0 {
				if out, err := exec.Command("postconf", "-c", dir, "-e", setting).CombinedOutput(); err != nil {
					t.Errorf("%v: %s: run test/install-packages", err, out)
				}
			} else if _, stderr, status := run("-c", dir, "-e", setting); status != 0 {
				t.Error(stderr)
			}
		})
	}
	wg.Wait()
	text := readFile(t, filepath.Join(dir, "main.cf"))
	for i := range edits {
		if line := fmt.Sprintf("\np%d = %d\n", i, i); strings.Count(text, line) != 1 {
			t.Errorf("%q is not there once:\n%s", line, text)
		}
	}
}

// TestEditKeepsModeAndOwner shows that an edit does not make the file readable for others.
// (Postfix's makes it 0644, of the user who edits.)
func TestEditKeepsModeAndOwner(t *testing.T) {
	dir := configDir(t, "relayhost = a\n", "smtp inet n - n - - smtpd\n")
	for name, args := range map[string][]string{
		"main.cf":   {"-e", "relayhost=b"},
		"master.cf": {"-F", "smtp/inet/chroot=y"},
	} {
		path := filepath.Join(dir, name)
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		uid, gid := os.Getuid(), os.Getgid()
		if uid == 0 {
			uid, gid = 65534, 65533
			if err := os.Chown(path, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
		if _, stderr, status := run(append([]string{"-c", dir}, args...)...); status != 0 {
			t.Fatal(stderr)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode() != 0o640 || int(st.Uid) != uid || int(st.Gid) != gid {
			t.Errorf("%s: mode %v, owner %d:%d, not %d:%d", name, info.Mode(), st.Uid, st.Gid, uid, gid)
		}
		if _, err := os.Stat(path + ".tmp"); err == nil {
			t.Errorf("%s.tmp is still there", name)
		}
	}
}

// TestLeftovers edits where a crash left an unfinished file, or one that was already
// renamed in part.
func TestLeftovers(t *testing.T) {
	for name, prepare := range map[string]func(path string) error{
		"unfinished": func(path string) error { return os.WriteFile(path+".tmp", []byte("half a li"), 0o600) },
		"finished":   func(path string) error { return os.WriteFile(path+".tmp", []byte("other = x\n"), 0o644) },
		"linked":     func(path string) error { return os.Link(path, path+".tmp") },
		"directory":  func(path string) error { return os.Mkdir(path+".tmp", 0o700) },
	} {
		dir := configDir(t, "relayhost = a\n# end\n", "")
		path := filepath.Join(dir, "main.cf")
		if err := prepare(path); err != nil {
			t.Fatal(err)
		}
		_, stderr, status := run("-c", dir, "relayhost=b")
		want, wantErr := "relayhost = b\n# end\n", ""
		if name == "directory" {
			want, wantErr = "relayhost = a\n# end\n", "postconf: fatal: open "+path+".tmp: Is a directory\n"
		}
		if got := readFile(t, path); got != want || stderr != wantErr || (status != 0) != (wantErr != "") {
			t.Errorf("%s: status %d, %s%s", name, status, stderr, got)
		}
	}
}

// TestEditErrors has what Postfix does worse: it crashes, or writes a broken file, or finds
// nothing to do.
func TestEditErrors(t *testing.T) {
	const main, master = "relayhost = a\nlast = x", "smtp inet n - n - - smtpd\n"
	for args, want := range map[string]string{
		"-F smtp/inet/command=":  `postconf: fatal: bad field count: "smtp/inet/command="`,
		"-F smtp/inet/chroot=":   `postconf: fatal: invalid chroot field "" in ""`,
		"-F smtp/inet/service=":  `postconf: fatal: invalid service field "" in ""`,
		"-X relayhost relayhost": `postconf: warning: ignoring earlier request: 'relayhost = (null)'`,
		"new=y":                  "",
	} {
		dir := configDir(t, main, master)
		_, stderr, _ := run(append([]string{"-c", dir}, strings.Fields(args)...)...)
		if strings.TrimSpace(stderr) != want {
			t.Errorf("%s: %s, want %s", args, stderr, want)
		}
		if args[1] == 'F' && readFile(t, filepath.Join(dir, "master.cf")) != master {
			t.Errorf("%s changed the file", args)
		}
		if got := readFile(t, filepath.Join(dir, "main.cf")); args[0] == 'n' && got != main+"\nnew = y\n" {
			t.Errorf("%s: %q", args, got)
		}
	}
}

// TestFailedEdit shows that nothing is left behind and nothing changed when an edit fails.
func TestFailedEdit(t *testing.T) {
	dir := configDir(t, "", "smtp inet n - n - - smtpd\n  -o a=b\nbroken\nlmtp unix - - n - - lmtp\n")
	before := readFile(t, filepath.Join(dir, "master.cf"))
	_, stderr, status := run("-c", dir, "-F", "lmtp/unix/chroot=y")
	want := "postconf: fatal: file " + dir + "/master.cf: line 3: specify service name and type on the same line\n"
	if stderr != want || status != 1 {
		t.Errorf("status %d, %s", status, stderr)
	}
	if readFile(t, filepath.Join(dir, "master.cf")) != before {
		t.Error("the file changed")
	}
	if _, err := os.Stat(filepath.Join(dir, "master.cf.tmp")); err == nil {
		t.Error("the unfinished file is still there")
	}
}
