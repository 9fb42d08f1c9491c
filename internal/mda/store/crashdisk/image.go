package crashdisk

import (
	"errors"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const blockSize = 4096

type block [blockSize]byte

// An image is the content of a disk: its own blocks, and where there are none the
// ones of the image under it.
type image struct {
	size   int64
	under  *image
	blocks map[int64]*block
}

func newImage(size int64, under *image) *image {
	return &image{size: size, under: under, blocks: make(map[int64]*block)}
}

var zeros block

func (i *image) block(n int64) *block {
	for ; i != nil; i = i.under {
		if b := i.blocks[n]; b != nil {
			return b
		}
	}
	return &zeros
}

func (i *image) readAt(p []byte, off int64) {
	for len(p) > 0 {
		n := copy(p, i.block(off / blockSize)[off%blockSize:])
		p, off = p[n:], off+int64(n)
	}
}

func (i *image) writeAt(p []byte, off int64) {
	for len(p) > 0 {
		number := off / blockSize
		b := i.blocks[number]
		if b == nil {
			b = new(block)
			*b = *i.block(number)
			i.blocks[number] = b
		}
		n := copy(b[off%blockSize:], p)
		p, off = p[n:], off+int64(n)
	}
}

// readImage reads a file that mostly consists of holes.
func readImage(path string) (*image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	img := newImage(st.Size(), nil)
	buf := make([]byte, blockSize)
	for off := int64(0); off < st.Size(); off += blockSize {
		if off, err = f.Seek(off, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
			break
		} else if err != nil {
			return nil, err
		}
		off -= off % blockSize
		n, err := f.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if slices.ContainsFunc(buf[:n], func(b byte) bool { return b != 0 }) {
			img.writeAt(buf[:n], off)
		}
	}
	return img, nil
}
