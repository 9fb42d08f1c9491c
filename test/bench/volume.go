package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// volumeSize is that of the file system of a measurement.
const volumeSize = 2 << 30

// A volume is a file system for one measurement at a time, made anew before each:
// ext4 takes care not to use the inodes of files that were deleted in the last minutes, and
// where thousands were, creating a file costs up to a hundred times as much. On
// a file system with a past, what is measured is the past.
type volume struct {
	image, mount string
}

// newVolume makes the image. Its blocks are written, so that no measurement pays
// for their allocation.
func newVolume() (*volume, error) {
	dir, err := os.MkdirTemp("", "dovetail-bench-")
	if err != nil {
		return nil, err
	}
	v := &volume{image: filepath.Join(dir, "image"), mount: filepath.Join(dir, "mount")}
	f, err := os.Create(v.image)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zeros := make([]byte, 1<<20)
	for range volumeSize / len(zeros) {
		if _, err := f.Write(zeros); err != nil {
			v.remove()
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		v.remove()
		return nil, err
	}
	if err := os.Mkdir(v.mount, 0o755); err != nil {
		return nil, err
	}
	return v, os.Chmod(dir, 0o755)
}

// fresh mounts a new file system and makes it the place of temporary
// directories. The function it returns undoes that.
func (v *volume) fresh() (undo func(), err error) {
	for _, args := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", v.image},
		{"mount", "-o", "loop", v.image, v.mount},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", args[0], err, out)
		}
	}
	if err := os.Chmod(v.mount, 0o777|os.ModeSticky); err != nil {
		return nil, err
	}
	before := os.Getenv("TMPDIR")
	os.Setenv("TMPDIR", v.mount)
	return func() {
		os.Setenv("TMPDIR", before)
		exec.Command("umount", v.mount).Run()
	}, nil
}

func (v *volume) remove() {
	exec.Command("umount", v.mount).Run() // it may not be mounted
	os.RemoveAll(filepath.Dir(v.image))
}
