package compress

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// memory is how much of a message is kept in memory.
	memory = 256 << 10
	// step is how much is decompressed at least when something is.
	step = 16 << 10
	// MaxUnknown bounds messages of which nobody knows how large they are.
	MaxUnknown = 1 << 30
)

// A Source is where a stored message is.
type Source interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// A Body is a compressed message as it was before. Its methods may be called by
// several goroutines.
type Body struct {
	src  Source
	name string // of the method
	temp string // directory for temporary files
	size int64

	mu   sync.Mutex
	r    io.ReadCloser
	done int64    // bytes decompressed
	mem  []byte   // the first of them
	file *os.File // the others, from its begin; nil for none
	err  error    // why there are not more
}

// Open returns the message of size bytes that src contains compressed with m; size is
// negative if nobody knows. Temporary files are made in temp. It closes src together
// with the Body, or when it fails. [ErrDamaged].
func (m *Method) Open(src Source, size int64, temp string) (*Body, error) {
	if size < 0 {
		var err error
		if size, err = m.Measure(src); err != nil {
			src.Close()
			return nil, err
		}
	}
	r, err := m.NewReader(io.NewSectionReader(src, 0, src.Size()))
	if err != nil {
		src.Close()
		return nil, err
	}
	return &Body{src: src, name: m.Name, temp: temp, size: size, r: r}, nil
}

// Measure returns how large a message is that src contains compressed.
func (m *Method) Measure(src Source) (int64, error) {
	r, err := m.NewReader(io.NewSectionReader(src, 0, src.Size()))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(r, MaxUnknown+1))
	if err == nil && n > MaxUnknown {
		err = fmt.Errorf("more than %d bytes", int64(MaxUnknown))
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrDamaged, m.Name, err)
	}
	return n, nil
}

// Size returns the size of the message.
func (b *Body) Size() int64 { return b.size }

// Close gives everything up.
func (b *Body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop(os.ErrClosed)
	b.mem = nil
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
	return b.src.Close()
}

// stop gives the coder back.
func (b *Body) stop(err error) {
	if b.r != nil {
		b.r.Close()
		b.r = nil
	}
	b.err = err
}

// ReadAt reads from the message.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	if off >= b.size {
		return 0, io.EOF
	}
	want, end := p, error(nil)
	if rest := b.size - off; int64(len(want)) > rest {
		want, end = want[:rest], io.EOF
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.err, os.ErrClosed) {
		return 0, b.err
	}
	err := b.decompress(off + int64(len(want)))
	n := 0
	if off < b.done {
		var err2 error
		if n, err2 = b.read(want[:min(int64(len(want)), b.done-off)], off); err2 != nil {
			return n, err2
		}
	}
	if n < len(want) {
		return n, err
	}
	return n, end
}

// read reads what was decompressed.
func (b *Body) read(p []byte, off int64) (n int, err error) {
	if off < int64(len(b.mem)) {
		n = copy(p, b.mem[off:])
	}
	if n < len(p) {
		m, err := b.file.ReadAt(p[n:], off+int64(n)-int64(len(b.mem)))
		return n + m, err
	}
	return n, nil
}

// decompress goes on until there are end bytes. mu is held.
func (b *Body) decompress(end int64) error {
	if b.done >= end {
		return nil
	}
	if b.err != nil {
		return b.err
	}
	end = min(b.size, max(end, b.done+step))
	if b.mem == nil {
		b.mem = make([]byte, 0, min(b.size, memory))
	}
	for b.done < end && len(b.mem) < cap(b.mem) {
		n, err := b.r.Read(b.mem[len(b.mem):min(int64(cap(b.mem)), end)])
		b.mem = b.mem[:len(b.mem)+n]
		b.done += int64(n)
		if err != nil && b.done < b.size {
			return b.fail(err)
		}
	}
	if b.done < end {
		if err := b.spill(end); err != nil {
			return err
		}
	}
	if b.done == b.size {
		return b.finish()
	}
	return nil
}

// spill decompresses to the temporary file.
func (b *Body) spill(end int64) error {
	if b.file == nil {
		f, err := tempFile(b.temp)
		if err != nil {
			return err
		}
		b.file = f
	}
	buf := spillPool.Get().(*[spillSize]byte)
	defer spillPool.Put(buf)
	for b.done < end {
		n, err := b.r.Read(buf[:min(spillSize, b.size-b.done)])
		if _, err := b.file.Write(buf[:n]); err != nil {
			// What the file has is not sure any more.
			b.stop(err)
			return err
		}
		b.done += int64(n)
		if err != nil && b.done < b.size {
			return b.fail(err)
		}
	}
	return nil
}

const spillSize = 64 << 10

var spillPool = sync.Pool{New: func() any { return new([spillSize]byte) }}

// fail ends the decompressing of a damaged message. What came before can be read.
func (b *Body) fail(err error) error {
	if err == io.EOF {
		err = fmt.Errorf("it has %d bytes and should have %d", b.done, b.size)
	}
	b.stop(fmt.Errorf("%w: %s: %w", ErrDamaged, b.name, err))
	return b.err
}

// finish checks that the message ends where it should.
func (b *Body) finish() error {
	var more [1]byte
	for range 100 { // a reader may return nothing several times
		n, err := b.r.Read(more[:])
		if n > 0 {
			b.done-- // the last byte must not look as if all were well
			return b.fail(fmt.Errorf("it has more than the %d bytes it should have", b.size))
		}
		if err == io.EOF {
			b.stop(nil)
			return nil
		}
		if err != nil {
			b.done--
			return b.fail(err)
		}
	}
	return b.fail(io.ErrNoProgress)
}

// tempFile makes a file without a name.
func tempFile(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(unnamed)"), nil
	}
	// The file system cannot do it in one step.
	f, err := os.CreateTemp(dir, "dovetail.")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
