package table

import (
	"io"
	"os"
	"time"
)

const (
	blockSize = 4096
	maxBlocks = 8192 // that are kept of one file
	// settled is how old the last change of a file has to be for its blocks to be kept: a
	// second change might have the same time stamp.
	settled = 2 * time.Second
)

// A blockReader reads a file by blocks, which it keeps as long as the file does not change: its
// owner makes another one then.
type blockReader struct {
	file   *os.File
	hold   func() error // called before the file is read; may be nil
	since  time.Time    // from then on blocks are kept
	keep   bool
	blocks map[int64][]byte
}

func newBlockReader(f *os.File, info os.FileInfo) *blockReader {
	return &blockReader{file: f, since: info.ModTime().Add(settled)}
}

// ReadAt implements [io.ReaderAt].
func (r *blockReader) ReadAt(b []byte, off int64) (n int, err error) {
	if !r.keep {
		if r.keep = time.Now().After(r.since); !r.keep {
			return r.read(b, off)
		}
		r.blocks = make(map[int64][]byte)
	}
	for n < len(b) {
		at := off + int64(n)
		block, err := r.block(at / blockSize)
		if err != nil {
			return n, err
		}
		start := int(at % blockSize)
		if start >= len(block) {
			return n, io.EOF
		}
		n += copy(b[n:], block[start:])
	}
	return n, nil
}

// block returns a block, which is shorter than others at the end of the file.
func (r *blockReader) block(number int64) ([]byte, error) {
	if b, ok := r.blocks[number]; ok {
		return b, nil
	}
	b := make([]byte, blockSize)
	n, err := r.read(b, number*blockSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(r.blocks) == maxBlocks {
		clear(r.blocks)
	}
	r.blocks[number] = b[:n]
	return b[:n], nil
}

func (r *blockReader) read(b []byte, off int64) (int, error) {
	if r.hold != nil {
		if err := r.hold(); err != nil {
			return 0, err
		}
	}
	return r.file.ReadAt(b, off)
}

// Block returns size bytes at off without copying them, if they are one of the blocks that are
// kept. They must not be changed.
func (r *blockReader) Block(off int64, size int) ([]byte, bool) {
	if !r.keep || size != blockSize || off%blockSize != 0 {
		return nil, false
	}
	b, err := r.block(off / blockSize)
	return b, err == nil && len(b) == size
}
