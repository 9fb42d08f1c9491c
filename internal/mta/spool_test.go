package mta

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSpool shows that files for messages under way are in the directory of the queue and
// leave nothing behind there.
func TestSpool(t *testing.T) {
	queue := t.TempDir()
	dir := filepath.Join(queue, SegmentsName)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := spoolIn(queue)()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "text" {
		t.Errorf("read %q, %v", b, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
	if _, err := spoolIn(filepath.Join(queue, "nowhere"))(); err == nil {
		t.Error("a directory that is not there is no error")
	}
}
