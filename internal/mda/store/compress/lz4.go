package compress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// lz4Magic begins Dovecot's lz4 files. A u32 with the largest chunk follows.
const lz4Magic = "Dovecot-LZ4\x0d\x2a\x9b\xc5"

const (
	lz4Chunk     = 64 << 10 // that is written
	lz4MaxChunk  = 1 << 20  // that is read, compressed or not
	lz4ChunkHead = 4
)

// An lz4Buffers is what a reader or writer works with.
type lz4Buffers struct {
	packed, plain []byte
	coder         lz4.Compressor
}

var lz4Pool = sync.Pool{New: func() any { return new(lz4Buffers) }}

// grown returns a slice of n bytes, b's own if it is large enough.
func grown(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func (b *lz4Buffers) release() {
	if cap(b.plain)+cap(b.packed) <= 4*lz4Chunk {
		lz4Pool.Put(b)
	}
}

// An lz4Reader reads Dovecot's lz4 files.
type lz4Reader struct {
	r    io.Reader
	buf  *lz4Buffers
	max  int    // an uncompressed chunk
	rest []byte // of the chunk
}

func newLZ4Reader(r io.Reader) (io.ReadCloser, error) {
	var head [len(lz4Magic) + 4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[len(lz4Magic):])
	if string(head[:len(lz4Magic)]) != lz4Magic {
		return nil, errors.New("no lz4 header of Dovecot's")
	}
	if size > lz4MaxChunk {
		return nil, fmt.Errorf("chunks of %d bytes", size)
	}
	return &lz4Reader{r: r, buf: lz4Pool.Get().(*lz4Buffers), max: int(size)}, nil
}

func (z *lz4Reader) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// next decompresses a chunk.
func (z *lz4Reader) next() error {
	var head [lz4ChunkHead]byte
	if _, err := io.ReadFull(z.r, head[:]); err != nil {
		return err // EOF between chunks is the end
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > lz4MaxChunk {
		return fmt.Errorf("chunk of %d bytes", size)
	}
	b := z.buf
	b.packed, b.plain = grown(b.packed, int(size)), grown(b.plain, z.max)
	if _, err := io.ReadFull(z.r, b.packed); err != nil {
		return io.ErrUnexpectedEOF
	}
	n, err := lz4.UncompressBlock(b.packed, b.plain)
	if err != nil {
		return err
	}
	z.rest = b.plain[:n]
	return nil
}

func (z *lz4Reader) Close() error {
	if z.buf != nil {
		z.buf.release()
		z.buf, z.rest = nil, nil
		z.r = ended{}
	}
	return nil
}

// ended is a file that was closed.
type ended struct{}

func (ended) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// An lz4Writer writes Dovecot's lz4 files.
type lz4Writer struct {
	w     io.Writer
	buf   *lz4Buffers
	begun bool
}

// newLZ4Writer takes a level because zlib_save_level has one; there is only one way
// to compress.
func newLZ4Writer(w io.Writer, _ int) (io.WriteCloser, error) {
	b := lz4Pool.Get().(*lz4Buffers)
	b.plain = grown(b.plain, lz4Chunk)[:0]
	b.packed = grown(b.packed, len(lz4Magic)+4+lz4ChunkHead+lz4.CompressBlockBound(lz4Chunk))
	return &lz4Writer{w: w, buf: b}, nil
}

func (z *lz4Writer) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), lz4Chunk-len(z.buf.plain))
		z.buf.plain = append(z.buf.plain, p[:n]...)
		p = p[n:]
		if len(z.buf.plain) == lz4Chunk {
			if err := z.flush(); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

// flush writes what there is as a chunk, with the header before the first.
func (z *lz4Writer) flush() error {
	out, at := z.buf.packed, 0
	if !z.begun {
		z.begun = true
		at = copy(out, lz4Magic)
		binary.BigEndian.PutUint32(out[at:], lz4Chunk)
		at += 4
	}
	if len(z.buf.plain) > 0 {
		// With room for the worst case it always "compresses".
		n, err := z.buf.coder.CompressBlock(z.buf.plain, out[at+lz4ChunkHead:])
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(out[at:], uint32(n))
		at += lz4ChunkHead + n
		z.buf.plain = z.buf.plain[:0]
	}
	_, err := z.w.Write(out[:at])
	return err
}

func (z *lz4Writer) Close() error {
	if z.buf == nil {
		return nil
	}
	err := z.flush()
	z.buf.release()
	z.buf = nil
	return err
}
