package crashdisk

import (
	"encoding/binary"
	"errors"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Requests of the FUSE protocol, version 7.31 (linux/fuse.h).
const (
	opLookup  = 1
	opForget  = 2
	opGetattr = 3
	opOpen    = 14
	opRead    = 15
	opWrite   = 16
	opRelease = 18
	opFsync   = 20
	opFlush   = 25
	opInit    = 26
	opForgets = 42
)

const (
	protocolMajor, protocolMinor = 7, 31

	inHeader, outHeader = 40, 16
	writeHeader         = 40
	maxWrite            = 128 << 10

	flagBigWrites = 1 << 5
	flagMaxPages  = 1 << 22
	openDirectIO  = 1

	rootNode  = 1
	firstNode = 2 // of the first disk
)

// A server serves a file system with one file for each disk, named by number.
type server struct {
	fd int

	mu    sync.Mutex
	files []file
}

// A file is what the server does with one disk. The calls come one at a time.
type file interface {
	size() int64
	readAt(p []byte, off int64)
	writeAt(p []byte, off int64)
	flush()
}

// add returns the name of the file.
func (s *server) add(f file) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, f)
	return strconv.Itoa(len(s.files) - 1)
}

// remove has a disk's memory given back; its name is not used again.
func (s *server) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, _ := strconv.Atoi(name)
	s.files[n] = nil
}

func (s *server) file(node uint64) file {
	if node < firstNode || node-firstNode >= uint64(len(s.files)) {
		return nil
	}
	return s.files[node-firstNode]
}

// serve answers the kernel until the file system is unmounted.
func (s *server) serve() {
	buf := make([]byte, maxWrite+blockSize)
	var out []byte
	for {
		n, err := unix.Read(s.fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil || n < inHeader {
			return
		}
		op := binary.LittleEndian.Uint32(buf[4:])
		if op == opForget || op == opForgets {
			continue // these have no answer
		}
		out = append(out[:0], make([]byte, outHeader)...)
		out, errno := s.answer(out, op, binary.LittleEndian.Uint64(buf[16:]), buf[inHeader:n])
		if errno != 0 {
			out = out[:outHeader]
		}
		binary.LittleEndian.PutUint32(out, uint32(len(out)))
		binary.LittleEndian.PutUint32(out[4:], uint32(-int32(errno)))
		copy(out[8:16], buf[8:16])
		if _, err := unix.Write(s.fd, out); err != nil && !errors.Is(err, unix.ENOENT) {
			return
		}
	}
}

// answer appends what a request gets.
func (s *server) answer(out []byte, op uint32, node uint64, in []byte) ([]byte, unix.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	le := binary.LittleEndian
	switch op {
	case opInit:
		return appendInit(out), 0
	case opLookup:
		n, err := strconv.ParseUint(string(in[:len(in)-1]), 10, 16)
		if node != rootNode || err != nil || s.file(n+firstNode) == nil {
			return out, unix.ENOENT
		}
		node = n + firstNode
		out = le.AppendUint64(out, node)
		out = append(out, make([]byte, 32)...) // generation; how long to keep name and attributes
		return s.appendAttr(out, node), 0
	case opGetattr:
		if node != rootNode && s.file(node) == nil {
			return out, unix.ENOENT
		}
		out = append(out, make([]byte, 16)...)
		return s.appendAttr(out, node), 0
	case opRelease, opFlush:
		return out, 0
	}
	f := s.file(node)
	if f == nil {
		return out, unix.ENOSYS
	}
	switch op {
	case opOpen:
		out = le.AppendUint64(out, 0)
		return le.AppendUint64(out, openDirectIO), 0
	case opRead:
		off, size := int64(le.Uint64(in[8:])), int64(le.Uint32(in[16:]))
		size = max(min(size, f.size()-off), 0)
		out = append(out, make([]byte, size)...)
		f.readAt(out[outHeader:], off)
		return out, 0
	case opWrite:
		f.writeAt(in[writeHeader:], int64(le.Uint64(in[8:])))
		return le.AppendUint64(out, uint64(len(in)-writeHeader)), 0
	case opFsync:
		f.flush()
		return out, 0
	}
	return out, unix.ENOSYS
}

func appendInit(out []byte) []byte {
	le := binary.LittleEndian
	out = le.AppendUint32(out, protocolMajor)
	out = le.AppendUint32(out, protocolMinor)
	out = le.AppendUint32(out, 0) // no reading ahead
	out = le.AppendUint32(out, flagBigWrites|flagMaxPages)
	out = le.AppendUint32(out, 0) // as many requests under way as the kernel likes
	out = le.AppendUint32(out, maxWrite)
	out = le.AppendUint32(out, 1) // nanoseconds
	out = le.AppendUint32(out, maxWrite/blockSize)
	return append(out, make([]byte, 32)...)
}

func (s *server) appendAttr(out []byte, node uint64) []byte {
	le := binary.LittleEndian
	mode, size := uint32(unix.S_IFDIR|0o700), int64(0)
	if f := s.file(node); f != nil {
		mode, size = unix.S_IFREG|0o600, f.size()
	}
	out = le.AppendUint64(out, node)
	out = le.AppendUint64(out, uint64(size))
	out = le.AppendUint64(out, uint64(size/512))
	out = append(out, make([]byte, 36)...) // times
	out = le.AppendUint32(out, mode)
	out = le.AppendUint32(out, 1)          // link
	out = append(out, make([]byte, 12)...) // owner, device
	out = le.AppendUint32(out, blockSize)
	return le.AppendUint32(out, 0)
}
