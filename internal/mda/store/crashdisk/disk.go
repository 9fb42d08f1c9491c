package crashdisk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// A Host serves disks, in a directory of its own. Its methods belong to one
// goroutine.
type Host struct {
	dir    string
	server *server
}

// NewHost starts serving disks below an existing directory.
func NewHost(dir string) (*Host, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open(/dev/fuse): %w", err)
	}
	h := &Host{dir: dir, server: &server{fd: fd}}
	if err := os.Mkdir(h.files(), 0o700); err != nil {
		unix.Close(fd)
		return nil, err
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("crashdisk", h.files(), "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mount(%s): %w", h.files(), err)
	}
	go h.server.serve()
	return h, nil
}

func (h *Host) files() string { return filepath.Join(h.dir, "disks") }

// Close stops serving. All file systems on disks must be unmounted.
func (h *Host) Close() error {
	err := unix.Unmount(h.files(), unix.MNT_DETACH)
	unix.Close(h.server.fd)
	return err
}

// A Disk is one with a file system.
type Disk struct {
	host  *Host
	name  string // of its file
	mount string

	mu     sync.Mutex
	now    *image
	before *image  // when the recording began
	events []event // since then
	fixed  int     // events that before contains already
}

// An event is a write or, without data, a flush.
type event struct {
	off  int64
	data []byte
}

// NewDisk makes a disk of size bytes with a file system: the command mkfs gets the
// path of a file as last argument.
func (h *Host) NewDisk(size int64, mkfs ...string) (*Disk, error) {
	path := filepath.Join(h.dir, "mkfs")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(path)
	if err := os.Truncate(path, size); err != nil {
		return nil, err
	}
	if err := run(append(mkfs, path)...); err != nil {
		return nil, err
	}
	img, err := readImage(path)
	if err != nil {
		return nil, err
	}
	return h.add(img), nil
}

func (h *Host) add(img *image) *Disk {
	d := &Disk{host: h, before: img, now: newImage(img.size, img)}
	d.name = h.server.add(d)
	return d
}

func run(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", args, err, out)
	}
	return nil
}

// Mount mounts the disk with options for mount(8), which may be empty, and returns
// where.
func (d *Disk) Mount(options string) (string, error) {
	dir := filepath.Join(d.host.dir, "disk"+d.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if options != "" {
		options = "," + options
	}
	if err := run("mount", "-o", "loop"+options, filepath.Join(d.host.files(), d.name), dir); err != nil {
		return "", err
	}
	d.mount = dir
	return dir, nil
}

// Unmount unmounts the disk.
func (d *Disk) Unmount() error {
	if d.mount == "" {
		return nil
	}
	err := run("umount", d.mount)
	if err == nil {
		err = os.Remove(d.mount)
		d.mount = ""
	}
	return err
}

// Discard gives up an unmounted disk.
func (d *Disk) Discard() { d.host.server.remove(d.name) }

// Position returns how many writes and flushes the disk has seen.
func (d *Disk) Position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fixed + len(d.events)
}

// Crash returns the disk as a power failure after the first n events leaves it.
// From one call to the next n must not fall. What was not flushed is on it or not
// as r says.
func (d *Disk) Crash(n int, r *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	n -= d.fixed
	flushed := 0
	for i, e := range d.events[:n] {
		if e.data == nil {
			flushed = i + 1
		}
	}
	for _, e := range d.events[:flushed] {
		d.before.writeAt(e.data, e.off)
	}
	img := newImage(d.before.size, d.before)
	keep := lottery(r)
	for _, e := range d.events[flushed:n] {
		keepWrite := keep()
		for at := 0; at < len(e.data); at += blockSize {
			if keepWrite() {
				img.writeAt(e.data[at:min(at+blockSize, len(e.data))], e.off+int64(at))
			}
		}
	}
	d.events, d.fixed = d.events[flushed:], d.fixed+flushed
	return d.host.add(img)
}

// lottery returns what decides, for each write, what decides for each of its blocks
// whether it is on the disk.
func lottery(r *rand.Rand) func() func() bool {
	always := func(v bool) func() bool { return func() bool { return v } }
	part := r.Float64()
	switch r.IntN(4) {
	case 0:
		return func() func() bool { return always(true) }
	case 1:
		return func() func() bool { return always(false) }
	case 2:
		return func() func() bool { return always(r.Float64() < part) }
	}
	return func() func() bool { return func() bool { return r.Float64() < part } }
}

// The methods of a file.

func (d *Disk) size() int64 { return d.now.size }

func (d *Disk) readAt(p []byte, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.readAt(p, off)
}

func (d *Disk) writeAt(p []byte, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.writeAt(p, off)
	d.events = append(d.events, event{off, append(make([]byte, 0, len(p)), p...)})
}

func (d *Disk) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, event{})
}
