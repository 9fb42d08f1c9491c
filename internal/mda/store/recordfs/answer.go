package recordfs

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Requests of the FUSE protocol.
const (
	opLookup    = 1
	opForget    = 2
	opGetattr   = 3
	opSetattr   = 4
	opReadlink  = 5
	opSymlink   = 6
	opMknod     = 8
	opMkdir     = 9
	opUnlink    = 10
	opRmdir     = 11
	opRename    = 12
	opLink      = 13
	opOpen      = 14
	opRead      = 15
	opWrite     = 16
	opStatfs    = 17
	opRelease   = 18
	opFsync     = 20
	opFlush     = 25
	opInit      = 26
	opOpendir   = 27
	opReaddir   = 28
	opReleasDir = 29
	opFsyncDir  = 30
	opCreate    = 35
	opInterrupt = 36
	opForgets   = 42
	opRename2   = 45
)

// What SETATTR sets.
const (
	setMode  = 1 << 0
	setUID   = 1 << 1
	setGID   = 1 << 2
	setSize  = 1 << 3
	setMtime = 1 << 5
	setNow   = 1 << 8
)

// answer does what is asked.
func (f *FS) answer(r *request) unix.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.op == opInit {
		r.putInit()
		return 0
	}
	n := f.nodes[r.node]
	if n == nil {
		return unix.ESTALE
	}
	switch r.op {
	case opLookup:
		child := n.names[string(r.in[:len(r.in)-1])]
		if child == nil {
			return unix.ENOENT
		}
		r.putEntry(child)
	case opGetattr:
		f.putAttrs(r, n)
	case opSetattr:
		f.setAttr(r, n)
	case opReadlink:
		r.out = append(r.out, n.data...)
	case opSymlink:
		name, target := twoNames(r.in)
		return f.make(r, n, name, &node{mode: unix.S_IFLNK | 0o777, data: []byte(target)})
	case opMknod:
		return f.make(r, n, string(r.in[16:len(r.in)-1]), &node{mode: r.u32(0)})
	case opMkdir:
		return f.make(r, n, string(r.in[8:len(r.in)-1]), &node{mode: unix.S_IFDIR | r.u32(0), names: make(map[string]*node)})
	case opCreate:
		if errno := f.make(r, n, string(r.in[16:len(r.in)-1]), &node{mode: r.u32(4)}); errno != 0 {
			return errno
		}
		r.putOpen()
	case opLink:
		return f.link(r, n)
	case opUnlink, opRmdir:
		return f.remove(n, string(r.in[:len(r.in)-1]), r.op == opRmdir)
	case opRename:
		return f.rename(n, f.nodes[r.u64(0)], r.in[8:], 0)
	case opRename2:
		return f.rename(n, f.nodes[r.u64(0)], r.in[16:], r.u32(8))
	case opOpen, opOpendir:
		r.putOpen()
	case opRead:
		off, size := r.u64(8), uint64(r.u32(16))
		if off < uint64(len(n.data)) {
			r.out = append(r.out, n.data[off:min(off+size, uint64(len(n.data)))]...)
		}
	case opWrite:
		f.write(n, r.in[40:40+r.u32(16)], int(r.u64(8)))
		r.put32(r.u32(16), 0)
	case opReaddir:
		r.putNames(n, r.u64(8), int(r.u32(16)))
	case opStatfs:
		r.put64(1<<20, 1<<20, 1<<20, 1<<20, 1<<20)
		r.put32(blockSize, 255, blockSize, 0, 0, 0, 0, 0, 0, 0)
	case opRelease, opReleasDir, opFlush:
	case opFsync, opFsyncDir:
		f.noted("fsync "+f.path(n), false)
	default:
		return unix.ENOSYS
	}
	return 0
}

func twoNames(in []byte) (first, second string) {
	a, rest, _ := bytes.Cut(in, []byte{0})
	b, _, _ := bytes.Cut(rest, []byte{0})
	return string(a), string(b)
}

func (f *FS) putAttrs(r *request, n *node) {
	r.put64(0)
	r.put32(0, 0)
	r.putAttr(n)
}

func (f *FS) setAttr(r *request, n *node) {
	valid := r.u32(0)
	if valid&setMode != 0 {
		n.mode = n.mode&unix.S_IFMT | r.u32(68)&0o7777
	}
	if valid&setUID != 0 {
		n.uid = r.u32(76)
	}
	if valid&setGID != 0 {
		n.gid = r.u32(80)
	}
	if valid&setSize != 0 {
		size := int(r.u64(16))
		data := make([]byte, size)
		copy(data, n.data)
		n.data, n.mtime = data, time.Now()
	}
	switch {
	case valid&setNow != 0:
		n.mtime = time.Now()
	case valid&setMtime != 0:
		n.mtime = time.Unix(int64(r.u64(40)), int64(r.u32(60)))
	}
	f.noted(fmt.Sprintf("set attributes of %s, %d bytes", f.path(n), len(n.data)), false)
	f.putAttrs(r, n)
}

// make gives a new node a name.
func (f *FS) make(r *request, dir *node, name string, n *node) unix.Errno {
	if dir.names[name] != nil {
		return unix.EEXIST
	}
	f.last++
	n.id, n.uid, n.gid, n.links, n.mtime = f.last, r.uid, r.gid, 1, time.Now()
	f.nodes[n.id] = n
	dir.names[name] = n
	dir.mtime = n.mtime
	f.noted("create "+f.path(n), false)
	r.putEntry(n)
	return 0
}

func (f *FS) link(r *request, dir *node) unix.Errno {
	name := string(r.in[8 : len(r.in)-1])
	n := f.nodes[r.u64(0)]
	if dir.names[name] != nil {
		return unix.EEXIST
	}
	if n == nil {
		return unix.ENOENT
	}
	n.links++
	dir.names[name] = n
	dir.mtime = time.Now()
	f.noted("link "+name, false)
	r.putEntry(n)
	return 0
}

// remove takes a name away. The node stays for those who have it open.
func (f *FS) remove(dir *node, name string, isDir bool) unix.Errno {
	n := dir.names[name]
	switch {
	case n == nil:
		return unix.ENOENT
	case isDir && !n.isDir():
		return unix.ENOTDIR
	case !isDir && n.isDir():
		return unix.EISDIR
	case len(n.names) > 0:
		return unix.ENOTEMPTY
	}
	what := "remove " + f.path(n)
	n.links--
	delete(dir.names, name)
	dir.mtime = time.Now()
	f.noted(what, false)
	return 0
}

func (f *FS) rename(from, to *node, names []byte, flags uint32) unix.Errno {
	old, name := twoNames(names)
	n := from.names[old]
	if n == nil || to == nil {
		return unix.ENOENT
	}
	if flags&^unix.RENAME_NOREPLACE != 0 {
		return unix.EINVAL
	}
	if there := to.names[name]; there != nil {
		switch {
		case flags != 0:
			return unix.EEXIST
		case there == n:
			return 0
		case there.isDir() && !n.isDir():
			return unix.EISDIR
		case !there.isDir() && n.isDir():
			return unix.ENOTDIR
		case len(there.names) > 0:
			return unix.ENOTEMPTY
		}
		there.links--
	}
	what := "rename " + f.path(n)
	delete(from.names, old)
	to.names[name] = n
	from.mtime, to.mtime = time.Now(), time.Now()
	f.noted(what+" to "+f.path(n), false)
	return 0
}

// sectorSize is what a drive writes whole or not at all.
const sectorSize = 512

// tears returns how many bytes of a write of n bytes may have arrived when it was not finished: any number
// of those that make the file longer; of those that replace others what ends with a sector.
func tears(off, n, size int) (all []int) {
	for _, part := range []int{1, 4, n / 2, n - 1, (off/sectorSize+1)*sectorSize - off, (off+n)/sectorSize*sectorSize - off} {
		if part > 0 && part < n && (off >= size || (off+part)%sectorSize == 0) {
			all = append(all, part)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// write writes, and notes states in which not all of it has arrived.
func (f *FS) write(n *node, b []byte, off int) {
	before := n.data
	put := func(b []byte) {
		n.data = make([]byte, max(len(before), off+len(b)))
		copy(n.data, before)
		copy(n.data[off:], b)
	}
	what := ""
	if f.recording {
		what = fmt.Sprintf("write %d bytes at %d to %s", len(b), off, f.path(n))
		for _, part := range tears(off, len(b), len(before)) {
			put(b[:part])
			f.noted(fmt.Sprintf("%s, %d of which arrived", what, part), true)
		}
	}
	put(b)
	n.mtime = time.Now()
	f.noted(what, false)
}

// putNames lists a directory from a position on.
func (r *request) putNames(dir *node, from uint64, size int) {
	all := []string{".", ".."}
	for name := range dir.names {
		all = append(all, name)
	}
	slices.Sort(all)
	for i := int(from); i < len(all); i++ {
		id, mode := dir.id, dir.mode
		if n := dir.names[all[i]]; n != nil {
			id, mode = n.id, n.mode
		}
		padded := (len(all[i]) + 7) &^ 7
		if len(r.out)-outHeader+24+padded > size {
			return
		}
		r.put64(id, uint64(i+1))
		r.put32(uint32(len(all[i])), mode>>12)
		r.out = append(r.out, all[i]...)
		r.out = append(r.out, make([]byte, padded-len(all[i]))...)
	}
}
