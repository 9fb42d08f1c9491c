package recordfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lengths of the FUSE protocol, version 7.31 (linux/fuse.h).
const (
	protocolMajor, protocolMinor = 7, 31

	inHeader, outHeader = 40, 16
	maxWrite            = 1 << 20
	blockSize           = 4096

	flagBigWrites = 1 << 5
	flagMaxPages  = 1 << 22
	openDirectIO  = 1

	rootID = 1
)

// An FS is a mounted file system.
type FS struct {
	fd    int
	mount string
	done  chan struct{}

	mu        sync.Mutex
	nodes     map[uint64]*node
	last      uint64 // id
	recording bool
	states    []*State
}

// Mount mounts an empty file system at an existing directory.
func Mount(dir string) (*FS, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open(/dev/fuse): %w", err)
	}
	f := &FS{fd: fd, mount: dir, done: make(chan struct{}), nodes: make(map[uint64]*node), last: rootID}
	f.nodes[rootID] = &node{id: rootID, mode: unix.S_IFDIR | 0o700, links: 2, mtime: time.Now(), names: make(map[string]*node)}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions", fd)
	if err := unix.Mount("recordfs", dir, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mount(%s): %w", dir, err)
	}
	go f.serve()
	if err := f.refusePoll(); err != nil {
		return nil, errors.Join(err, f.Unmount())
	}
	return f, nil
}

// refusePoll has the kernel learn that files here cannot be polled. It would ask when the runtime
// adds the first file to its epoll instance, in a system call that the scheduler does not know to
// block: if all else had to wait for that goroutine, nobody would answer.
func (f *FS) refusePoll() error {
	fd, err := unix.Open(filepath.Join(f.mount, "poll"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		return err
	}
	return unix.Unlink(filepath.Join(f.mount, "poll"))
}

// Unmount ends it. Its files must be closed.
func (f *FS) Unmount() error {
	err := unix.Unmount(f.mount, 0)
	if err != nil {
		err = errors.Join(fmt.Errorf("unmount(%s): %w", f.mount, err), unix.Unmount(f.mount, unix.MNT_DETACH))
	}
	unix.Close(f.fd)
	return err
}

// Record begins to keep states; the first is the present one.
func (f *FS) Record() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recording, f.states = true, nil
	f.noted("", false)
}

// Stop returns the states since Record.
func (f *FS) Stop() []*State {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recording = false
	return f.states
}

// serve answers the kernel until the file system is unmounted.
func (f *FS) serve() {
	defer close(f.done)
	buf := make([]byte, maxWrite+blockSize)
	for {
		n, err := unix.Read(f.fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil || n < inHeader {
			return
		}
		le := binary.LittleEndian
		r := &request{
			op: le.Uint32(buf[4:]), node: le.Uint64(buf[16:]), uid: le.Uint32(buf[24:]), gid: le.Uint32(buf[28:]),
			in: buf[inHeader:n], out: make([]byte, outHeader),
		}
		if r.op == opForget || r.op == opForgets || r.op == opInterrupt {
			continue // these have no answer
		}
		errno := f.answer(r)
		if errno != 0 {
			r.out = r.out[:outHeader]
		}
		le.PutUint32(r.out, uint32(len(r.out)))
		le.PutUint32(r.out[4:], uint32(-int32(errno)))
		copy(r.out[8:16], buf[8:16])
		if _, err := unix.Write(f.fd, r.out); err != nil && !errors.Is(err, unix.ENOENT) {
			return
		}
	}
}

// A request is what the kernel asks.
type request struct {
	op       uint32
	node     uint64
	uid, gid uint32
	in       []byte
	out      []byte
}

func (r *request) u32(at int) uint32 { return binary.LittleEndian.Uint32(r.in[at:]) }
func (r *request) u64(at int) uint64 { return binary.LittleEndian.Uint64(r.in[at:]) }

func (r *request) put32(all ...uint32) {
	for _, v := range all {
		r.out = binary.LittleEndian.AppendUint32(r.out, v)
	}
}

func (r *request) put64(all ...uint64) {
	for _, v := range all {
		r.out = binary.LittleEndian.AppendUint64(r.out, v)
	}
}

// putInit answers the first request.
func (r *request) putInit() {
	r.put32(protocolMajor, protocolMinor, 0 /* no reading ahead */, flagBigWrites|flagMaxPages, 0, maxWrite, 1 /* nanoseconds */, maxWrite/blockSize)
	r.out = append(r.out, make([]byte, 32)...)
}

// putAttr appends the attributes of a node.
func (r *request) putAttr(n *node) {
	size := uint64(len(n.data))
	sec, nsec := uint64(n.mtime.Unix()), uint32(n.mtime.Nanosecond())
	r.put64(n.id, size, (size+511)/512, sec, sec, sec)
	r.put32(nsec, nsec, nsec, n.mode, n.links, n.uid, n.gid, 0, blockSize, 0)
}

// putEntry answers with a node that was found or made, which the kernel must not
// remember.
func (r *request) putEntry(n *node) {
	r.put64(n.id, 0, 0, 0)
	r.put32(0, 0)
	r.putAttr(n)
}

// putOpen answers with an open file, every write to which the kernel passes on as it is.
func (r *request) putOpen() {
	r.put64(0)
	r.put32(openDirectIO, 0)
}
