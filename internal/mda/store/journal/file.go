package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
)

const (
	blockSize  = 4096
	batchHead  = 16
	growBy     = 1 << 20
	maxBatch   = 64 << 20
	headerSize = 44
)

var (
	magic      = []byte("DTjrnl\x00\x01")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// A bootID tells one run of the kernel from another.
type bootID [16]byte

// thisBoot is the current one; zero, which never matches, if it is unknown.
var thisBoot = sync.OnceValue(func() (id bootID) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil {
		text = bytes.ReplaceAll(bytes.TrimSpace(text), []byte{'-'}, nil)
		if len(text) == 2*len(id) {
			_, err = hex.Decode(id[:], text)
		}
	}
	if err != nil {
		return bootID{}
	}
	return id
})

// A header is the first block of a file.
type header struct {
	generation uint64 // 0: not in use
	salt       uint64
	boot       bootID
}

func (h *header) encode() []byte {
	b := append(make([]byte, 0, blockSize), magic...)
	b = binary.LittleEndian.AppendUint64(b, h.generation)
	b = binary.LittleEndian.AppendUint64(b, h.salt)
	b = append(b, h.boot[:]...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:blockSize]
}

// decodeHeader returns the header of a file; ok is false if it never had a whole one.
func decodeHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || !bytes.Equal(b[:8], magic) ||
		binary.LittleEndian.Uint32(b[40:]) != crc32.Checksum(b[:40], castagnoli) {
		return h, false
	}
	h.generation, h.salt = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	copy(h.boot[:], b[24:40])
	return h, true
}

// sealBatch fills in the head of a batch, which b begins with, and pads it to whole blocks.
func sealBatch(b []byte, salt uint64) []byte {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-batchHead))
	binary.LittleEndian.PutUint64(b[8:], salt)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return append(b, zeros[:-len(b)&(blockSize-1)]...)
}

var zeros [blockSize]byte

// A file is one of the two that a journal writes to in turns. Its blocks stay allocated.
type file struct {
	f      *os.File
	salt   uint64
	used   int64 // bytes of this use; 0 if it is not in use
	filled int64 // bytes that have been written ever: writing there changes no metadata
}

// begin starts another use. What was there is void.
func (f *file) begin(h header) error {
	if err := f.fill(blockSize); err != nil {
		return err
	}
	if _, err := f.f.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	f.salt, f.used = h.salt, blockSize
	return nil
}

// fill has the file written up to size, with zeros and more of them than needed.
func (f *file) fill(size int64) error {
	if size <= f.filled {
		return nil
	}
	more := make([]byte, (size-f.filled+growBy-1)/growBy*growBy)
	if _, err := f.f.WriteAt(more, f.filled); err != nil {
		return err
	}
	f.filled += int64(len(more))
	return nil
}

// write appends a batch, sealed, and has it on disk.
func (f *file) write(batch []byte) error {
	if err := f.fill(f.used + int64(len(batch))); err != nil {
		return err
	}
	if _, err := f.f.WriteAt(batch, f.used); err != nil {
		return err
	}
	f.used += int64(len(batch))
	return commit.Data(int(f.f.Fd()))
}

// end says on disk that the file is not in use.
func (f *file) end() error {
	h := header{}
	if _, err := f.f.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	f.used = 0
	return commit.Data(int(f.f.Fd()))
}

// eachBatch passes the records of each batch of a file to fn, which must not keep them. A batch
// that is not whole ends it.
func eachBatch(r io.ReaderAt, h *header, fn func(records []byte) error) error {
	var head [batchHead]byte
	for at := int64(blockSize); ; {
		if _, err := r.ReadAt(head[:], at); err != nil {
			return ignoreEOF(err)
		}
		n := int64(binary.LittleEndian.Uint32(head[:]))
		if n == 0 || n > maxBatch || binary.LittleEndian.Uint64(head[8:]) != h.salt {
			return nil
		}
		records := make([]byte, 8+n)
		copy(records, head[8:])
		if _, err := r.ReadAt(records[8:], at+batchHead); err != nil {
			return ignoreEOF(err)
		}
		if crc32.Checksum(records, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return nil
		}
		if err := fn(records[8:]); err != nil {
			return fmt.Errorf("batch at %d: %w", at, err)
		}
		at += (batchHead + n + blockSize - 1) &^ (blockSize - 1)
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
