package queue

import (
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
)

// A memDisk is a disk in memory. It remembers all that was done to it, so that
// a test can see the disk as it was at any moment, and it can fail.
type memDisk struct {
	mu    sync.Mutex
	files map[string]*memFile
	ops   []diskOp
	room  int64 // free bytes
	// fail is asked before each operation.
	fail func(op diskOp) error
}

// A diskOp is one thing that was done to a disk.
type diskOp struct {
	do   string // "create", "write", "sync", "truncate", "rename", "remove", "syncdir"
	file *memFile
	name string
	to   string
	off  int64
	size int64
	data []byte
}

type memFile struct {
	d    *memDisk
	data []byte
}

func newMemDisk() *memDisk {
	return &memDisk{files: make(map[string]*memFile), room: 1 << 40}
}

// do performs op and remembers it. The caller holds the lock.
func (d *memDisk) do(op diskOp) error {
	if d.fail != nil {
		if err := d.fail(op); err != nil {
			return err
		}
	}
	d.apply(op)
	d.ops = append(d.ops, op)
	return nil
}

func (d *memDisk) apply(op diskOp) {
	switch op.do {
	case "create":
		d.files[op.name] = op.file
	case "write":
		if need := op.off + int64(len(op.data)); need > int64(len(op.file.data)) {
			op.file.data = append(op.file.data, make([]byte, need-int64(len(op.file.data)))...)
		}
		copy(op.file.data[op.off:], op.data)
	case "truncate":
		if op.size < int64(len(op.file.data)) {
			op.file.data = slices.Clip(op.file.data[:op.size])
		} else {
			op.file.data = append(op.file.data, make([]byte, op.size-int64(len(op.file.data)))...)
		}
	case "rename":
		d.files[op.to] = d.files[op.name]
		delete(d.files, op.name)
	case "remove":
		delete(d.files, op.name)
	}
}

// at returns the disk as it is after the first n operations. With a source of
// chance it is what a power failure leaves: what was written since the last
// sync of its file may be there or not, block by block.
func (d *memDisk) at(n int, chance *rand.Rand) *memDisk {
	d.mu.Lock()
	ops := d.ops[:n]
	d.mu.Unlock()
	c := newMemDisk()
	files := make(map[*memFile]*memFile)
	synced := make(map[*memFile]int)
	for i, op := range ops {
		if op.do == "sync" {
			synced[op.file] = i
		}
	}
	for i, op := range ops {
		if op.file != nil {
			f := files[op.file]
			if f == nil {
				f = &memFile{d: c}
				files[op.file] = f
			}
			at, ok := synced[op.file]
			lost := chance != nil && op.do == "write" && (!ok || i > at)
			op.file = f
			if lost {
				c.applyTorn(op, chance)
				continue
			}
		}
		c.apply(op)
	}
	return c
}

// applyTorn writes some blocks of op.
func (d *memDisk) applyTorn(op diskOp, chance *rand.Rand) {
	for off := int64(0); off < int64(len(op.data)); {
		n := min(blockSize-(op.off+off)%blockSize, int64(len(op.data))-off)
		if chance.IntN(2) == 0 {
			d.apply(diskOp{do: "write", file: op.file, off: op.off + off, data: op.data[off : off+n]})
		}
		off += n
	}
}

func (d *memDisk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

func (d *memDisk) create(name string, size int64) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		f = &memFile{d: d}
		if err := d.do(diskOp{do: "create", file: f, name: name}); err != nil {
			return nil, err
		}
	}
	grow := size - int64(len(f.data))
	if grow > d.room {
		return nil, syscall.ENOSPC
	}
	if grow != 0 {
		d.room -= grow
		if err := d.do(diskOp{do: "truncate", file: f, size: size}); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (d *memDisk) open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		return nil, os.ErrNotExist
	}
	f.d = d
	return f, nil
}

func (d *memDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[from] == nil {
		return os.ErrNotExist
	}
	return d.do(diskOp{do: "rename", name: from, to: to})
}

func (d *memDisk) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] == nil {
		return os.ErrNotExist
	}
	d.room += int64(len(d.files[name].data))
	return d.do(diskOp{do: "remove", name: name})
}

func (d *memDisk) sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.do(diskOp{do: "syncdir"})
}

func (d *memDisk) list() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.files {
		names = append(names, name)
	}
	return names, nil
}

func (d *memDisk) free() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.room, nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) writev(bufs [][]byte, off int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	data := slices.Concat(bufs...)
	if grow := off + int64(len(data)) - int64(len(f.data)); grow > 0 {
		if grow > f.d.room {
			return syscall.ENOSPC
		}
		f.d.room -= grow
	}
	return f.d.do(diskOp{do: "write", file: f, off: off, data: data})
}

func (f *memFile) sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.do(diskOp{do: "sync", file: f})
}

func (f *memFile) size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *memFile) truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.do(diskOp{do: "truncate", file: f, size: size})
}

func (f *memFile) punch(off, n int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.room += n
	return f.d.do(diskOp{do: "write", file: f, off: off, data: make([]byte, n)})
}

func (f *memFile) Close() error { return nil }
