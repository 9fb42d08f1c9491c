package index

import (
	"encoding/binary"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	logMajor      = 1
	logMinor      = 3
	logHeaderSize = 40
	logOldHeader  = 24
	maxLogSize    = 1 << 30
	firstLogSeq   = 2
)

// A logHeader is the header of a log file.
type logHeader struct {
	minor   byte
	size    int
	indexID uint32
	seq     uint32
	prevSeq uint32
	prevOff uint32
	created uint32
	modseq  uint64 // at the end of the previous log
}

func (h *logHeader) encode() []byte {
	b := make([]byte, 0, logHeaderSize)
	b = append(b, logMajor, logMinor, logHeaderSize, 0)
	for _, v := range []uint32{h.indexID, h.seq, h.prevSeq, h.prevOff, h.created} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, h.modseq)
	return append(b, compatLittle, 0, 0, 0, 0, 0, 0, 0)
}

func decodeLogHeader(b []byte) (h logHeader, err error) {
	if len(b) < logOldHeader {
		return h, damaged("log of %d bytes", len(b))
	}
	u32 := func(off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
	h = logHeader{
		minor: b[1], size: int(binary.LittleEndian.Uint16(b[2:])), indexID: u32(4),
		seq: u32(8), prevSeq: u32(12), prevOff: u32(16), created: u32(20), modseq: 1,
	}
	if b[0] != logMajor || h.size < logOldHeader || h.size%4 != 0 || h.seq == 0 {
		return h, damaged("log header: version %d, size %d, sequence %d", b[0], h.size, h.seq)
	}
	if h.indexID == 0 {
		return h, damaged("log was marked corrupted")
	}
	if h.size >= 32 && len(b) >= 32 {
		h.modseq = max(binary.LittleEndian.Uint64(b[24:]), 1)
	}
	if h.size >= logHeaderSize && len(b) >= logHeaderSize && h.minor >= 2 && b[32] != compatLittle {
		return h, damaged("log was written on another CPU architecture")
	}
	return h, nil
}

// A logFile is an open log.
type logFile struct {
	logHeader
	fd   int
	ino  uint64
	dev  uint64
	refs atomic.Int32 // descriptors handed out by Index.Log, besides the owner's
}

// A Log is the open log of an [Index], kept open after the index has gone on to
// another. It is for flushing, which must not hold up the index.
type Log struct{ l *logFile }

// Log returns the log that was written last. The caller must close it.
func (x *Index) Log() Log {
	x.log.refs.Add(1)
	return Log{x.log}
}

// Same tells whether the index still writes to this log.
func (l Log) Same(x *Index) bool { return l.l == x.log }

// Clone returns another handle of the log.
func (l Log) Clone() Log { l.l.refs.Add(1); return l }

// Flush has the log written to disk.
func (l Log) Flush() error {
	if err := unix.Fdatasync(l.l.fd); err != nil {
		return sysError("fdatasync", LogName, err)
	}
	return nil
}

// Is reports whether both are the same log.
func (l Log) Is(other Log) bool { return l.l == other.l }

// FD returns the descriptor, valid until Close.
func (l Log) FD() int { return l.l.fd }

// Close gives the handle back.
func (l Log) Close() {
	if l.l != nil {
		l.l.close()
	}
}

// openLog opens a log of the directory.
func openLog(d *Dir, name string) (*logFile, error) {
	fd, st, err := d.OpenRegular(name, unix.O_RDWR|unix.O_APPEND)
	if err != nil {
		return nil, err
	}
	l, err := newLogFile(fd, &st)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return l, nil
}

func newLogFile(fd int, st *unix.Stat_t) (*logFile, error) {
	b := make([]byte, logHeaderSize)
	n, err := ReadAt(fd, b, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	h, err := decodeLogHeader(b[:n])
	if err != nil {
		return nil, err
	}
	return &logFile{logHeader: h, fd: fd, ino: st.Ino, dev: st.Dev}, nil
}

func (l *logFile) close() {
	if l != nil && l.refs.Add(-1) < 0 {
		unix.Close(l.fd)
	}
}

func (l *logFile) fileSize() (int64, error) {
	var st unix.Stat_t
	err := unix.Fstat(l.fd, &st)
	return st.Size, err
}

// condemned tells whether somebody has marked the log as not to be used since
// it was opened.
func (l *logFile) condemned() bool {
	var b [4]byte
	_, err := ReadAt(l.fd, b[:], 4)
	return err != nil || binary.LittleEndian.Uint32(b[:]) != l.indexID
}

// readFrom returns the log from off to its end at size.
func (l *logFile) readFrom(off, size int64) ([]byte, error) {
	if size-off > maxLogSize || size < off {
		return nil, damaged("log of %d bytes, to be read from %d", size, off)
	}
	b := make([]byte, size-off)
	n, err := ReadAt(l.fd, b, off)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return b[:n], nil
}
