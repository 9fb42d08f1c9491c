package mailbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// TestWatchFile tells of what has happened before CatchUp, also where a file comes only after it is watched
// and is replaced, and closes pools while something happens.
func TestWatchFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		var told []string // guarded by the watcher's lock, as CatchUp takes it
		pool := NewPool(maillog.New(maillog.NewFile(os.Stderr, maillog.Dovecot, ""), "test"))
		os.Remove(path)
		file := pool.WatchFile(path, func(string) { told = append(told, "file") })
		tree := pool.WatchFile(dir, func(name string) { told = append(told, name) })
		if file.Renew() || !tree.Renew() {
			t.Fatal("a file that is not there is watched, or a directory is not")
		}
		write(path)
		pool.CatchUp()
		if !file.Renew() {
			t.Fatal("the file is not watched")
		}
		write(path + ".new")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		pool.CatchUp()
		if !file.Renew() {
			t.Fatal("the new file is not watched")
		}
		write(path)
		pool.CatchUp()
		pool.files.mu.Lock()
		got := strings.Join(told, " ")
		told = nil
		pool.files.mu.Unlock()
		if first, _, _ := strings.Cut(got, " "); first != "file" || strings.Count(got, "file.new") < 2 {
			t.Fatalf("told of %s", got)
		}
		write(path)
		pool.Close()
		file.Close()
		tree.Close()
	}
}
