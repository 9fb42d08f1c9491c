package doveconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestFiles runs the commands at the head of each archive on its files with both programs.
func TestFiles(t *testing.T) {
	paths, _ := filepath.Glob("testdata/files/*.txtar")
	if len(paths) == 0 {
		t.Fatal("no files")
	}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := unpack(t, path)
		for command := range strings.Lines(string(a.Comment)) {
			t.Run(filepath.Base(path)+"/"+command, func(t *testing.T) {
				t.Parallel()
				args := strings.Fields(command)[1:]
				compare(t, append([]string{"-c", filepath.Join(s.dir, "dovecot.conf")}, args...)...)
			})
		}
	}
}

// TestDefaultPath reads the main file without -c.
func TestDefaultPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.conf")
	if err := os.WriteFile(path, []byte("mail_debug = yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONFIG_FILE", path)
	if got := doveconf("mail_debug"); got.Stdout != "mail_debug = yes\n" {
		t.Errorf("%+v", got)
	}
}
