package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// SmallDisk mounts a file system of so many megabytes at a directory, whose owner and mode
// it gets.
func SmallDisk(t TB, dir string, megabytes int) {
	t.Helper()
	var was syscall.Stat_t
	if err := syscall.Stat(dir, &was); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	options := fmt.Sprintf("size=%dm,mode=%o,uid=%d,gid=%d", megabytes, was.Mode&0o7777, was.Uid, was.Gid)
	if err := syscall.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("umount %s: %v", dir, err)
		}
	})
}

// FillDisk takes all space that is left at dir and returns what gives it back.
func FillDisk(t TB, dir string) (release func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for size := len(block); size > 0; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatalf("%v", err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatalf("%v", err)
		}
	}
}
