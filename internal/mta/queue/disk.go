package queue

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mta/queue/datasync"
)

// disk is what the store asks of the file system. Tests put one in its place
// that records, fails or is full.
type disk interface {
	// create makes a file of the given size in written blocks; an existing
	// one is brought to that size.
	create(name string, size int64) (file, error)
	open(name string) (file, error)
	rename(from, to string) error
	remove(name string) error
	// sync makes creations, renames and removals durable.
	sync() error
	list() ([]string, error)
	free() (int64, error)
}

type file interface {
	io.ReaderAt
	// writev writes all of bufs at off.
	writev(bufs [][]byte, off int64) error
	// sync makes what was written durable, and of the metadata only what
	// reading it back needs (fdatasync).
	sync() error
	size() (int64, error)
	truncate(size int64) error
	// punch gives the blocks of a part back; it reads as zeros then.
	punch(off, n int64) error
	Close() error
}

// dirDisk is a directory of the real file system. All access is relative to
// its descriptor.
type dirDisk struct {
	root *os.Root
	dir  *os.File
}

func openDir(name string) (*dirDisk, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	dir, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &dirDisk{root, dir}, nil
}

func (d *dirDisk) close() error {
	return errors.Join(d.dir.Close(), d.root.Close())
}

// zeros is what new segments are filled with.
var zeros [256 << 10]byte

func (d *dirDisk) create(name string, size int64) (file, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := fill(f, size); err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}

// fill brings f to size. fallocate(2) first: it fails at once on a full disk.
func fill(f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	have := st.Size()
	if have > size {
		return f.Truncate(size)
	}
	if have == size {
		return nil
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, have, size-have)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	for have < size {
		n, err := f.WriteAt(zeros[:min(size-have, int64(len(zeros)))], have)
		if err != nil {
			return err
		}
		have += int64(n)
	}
	return nil
}

func (d *dirDisk) open(name string) (file, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *dirDisk) rename(from, to string) error { return d.root.Rename(from, to) }
func (d *dirDisk) remove(name string) error     { return d.root.Remove(name) }
func (d *dirDisk) sync() error                  { return d.dir.Sync() }

func (d *dirDisk) list() ([]string, error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

func (d *dirDisk) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.dir.Fd()), &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// osFile is a file of the real file system.
type osFile struct{ *os.File }

// maxVec is the number of buffers that one pwritev(2) takes (IOV_MAX).
const maxVec = 1024

func (f osFile) writev(bufs [][]byte, off int64) error {
	for len(bufs) > 0 {
		n, err := unix.Pwritev(int(f.Fd()), bufs[:min(len(bufs), maxVec)], off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		off += int64(n)
		bufs = consume(bufs, n)
	}
	return nil
}

// consume drops n written bytes from the front of bufs.
func consume(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}

func (f osFile) sync() error { return datasync.File(int(f.Fd())) }

func (f osFile) size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) truncate(size int64) error { return f.Truncate(size) }

func (f osFile) punch(off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// noSpace says whether err means that the disk, or a quota on it, is full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
