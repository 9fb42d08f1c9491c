package datasync

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Many files are flushed at once, more than there are slots.
func TestManyAtOnce(t *testing.T) {
	if _, err := theEngine(); err != nil {
		t.Fatalf("this system has no asynchronous I/O: %v", err)
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 10 * slots {
		wg.Go(func() {
			f, err := os.Create(filepath.Join(dir, strings.Repeat("x", i+1)))
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for range 5 {
				f.WriteString("text")
				if err := File(int(f.Fd())); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestNotFlushable(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := File(int(w.Fd())); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a pipe: %v", err)
	}
	fd := int(w.Fd())
	w.Close()
	if err := File(fd); !errors.Is(err, syscall.EBADF) {
		t.Errorf("a closed file: %v", err)
	}
}

// What the disk refuses must not pass for written: the file of a loop device, larger than the
// file system that it is in, takes writes until they are to be on disk.
func TestDiskFails(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes loop devices; make test says that such tests are left out")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH) //nolint:errcheck // the test is over
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	name := strings.TrimSpace(string(out))
	defer exec.Command("losetup", "--detach", name).Run() //nolint:errcheck // the test is over
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 8<<20)); err != nil {
		t.Fatal(err)
	}
	if err := File(int(f.Fd())); !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the disk took what it has no room for: %v", err)
	}
}
