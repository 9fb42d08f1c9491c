package queue

import (
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"
)

// chunkSize is the size of the buffers that hold contents: most messages fit
// into one.
const chunkSize = 16 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// A blob is content in memory: pooled buffers, given back when the last user
// releases it.
type blob struct {
	refs atomic.Int32
	bufs []*[chunkSize]byte
	size int64
	one  [1]*[chunkSize]byte // the usual bufs
	list [1][]byte           // the usual vec
}

func newBlob() *blob {
	b := new(blob)
	b.bufs = b.one[:0]
	b.refs.Store(1)
	return b
}

// fill takes the beginning of p and returns how much it took.
func (b *blob) fill(p []byte) int {
	at := int(b.size % chunkSize)
	if at == 0 {
		b.bufs = append(b.bufs, chunks.Get().(*[chunkSize]byte))
	}
	n := copy(b.bufs[len(b.bufs)-1][at:], p)
	b.size += int64(n)
	return n
}

// vec returns the content.
func (b *blob) vec() [][]byte {
	vec := b.list[:0]
	left := b.size
	for _, buf := range b.bufs {
		n := min(left, chunkSize)
		vec = append(vec, buf[:n])
		left -= n
	}
	return vec
}

// reset empties b.
func (b *blob) reset() {
	for i, buf := range b.bufs {
		chunks.Put(buf)
		b.bufs[i] = nil
	}
	b.bufs = b.bufs[:0]
	b.size = 0
}

func (b *blob) release() {
	if b.refs.Add(-1) == 0 {
		b.reset()
	}
}

// memory returns what b takes.
func (b *blob) memory() int64 { return int64(len(b.bufs)) * chunkSize }

// The cache holds the contents of fresh messages, the oldest of which go when
// it is full. It is guarded by the store's lock.
type cache struct {
	limit       int64
	size        int64
	first, last *entry
}

func (c *cache) add(e *entry, b *blob) {
	e.cached = b
	c.size += b.memory()
	e.cachePr = c.last
	if c.last != nil {
		c.last.cacheNext = e
	} else {
		c.first = e
	}
	c.last = e
	for c.size > c.limit && c.first != nil {
		c.drop(c.first)
	}
}

func (c *cache) drop(e *entry) {
	b := e.cached
	if b == nil {
		return
	}
	if e.cachePr != nil {
		e.cachePr.cacheNext = e.cacheNext
	} else {
		c.first = e.cacheNext
	}
	if e.cacheNext != nil {
		e.cacheNext.cachePr = e.cachePr
	} else {
		c.last = e.cachePr
	}
	e.cached, e.cachePr, e.cacheNext = nil, nil, nil
	c.size -= b.memory()
	b.release()
}

func (c *cache) clear() {
	for c.first != nil {
		c.drop(c.first)
	}
}

// Content is the content of a queued message, in memory or in a file. It may
// be read several times and by several goroutines. Close gives it back.
type Content struct {
	size   int64
	blob   *blob
	large  file
	closed atomic.Bool
}

// Content returns the content of m, from memory if it is fresh.
func (s *Store) Content(m *Message) (*Content, error) {
	s.mu.Lock()
	e := m.e
	if e == nil || e.flags&entryDead != 0 {
		s.mu.Unlock()
		return nil, ErrNotFound
	}
	if b := e.cached; b != nil {
		b.refs.Add(1)
		s.mu.Unlock()
		return &Content{size: b.size, blob: b}, nil
	}
	view := *e
	places := []place{e.at}
	s.pin(places)
	s.mu.Unlock()
	defer s.unpin(places)

	c, err := s.readContent(&view)
	if err != nil {
		return nil, fmt.Errorf("mail queue: content of %s: %w", m.ID, err)
	}
	return c, nil
}

func (s *Store) readContent(e *entry) (*Content, error) {
	if e.flags&entryLarge != 0 {
		return s.openLarge(e)
	}
	h, _, err := e.at.read(nil, headerSize+int64(e.head))
	if err != nil {
		return nil, err
	}
	b := newBlob()
	crc := uint32(0)
	off := int64(e.at.off) + headerSize + int64(e.head)
	for left := int64(h.body); left > 0; {
		buf := chunks.Get().(*[chunkSize]byte)
		b.bufs = append(b.bufs, buf)
		n := min(left, chunkSize)
		if _, err := e.at.seg.f.ReadAt(buf[:n], off); err != nil {
			b.release()
			return nil, err
		}
		crc = crc32.Update(crc, castagnoli, buf[:n])
		b.size += n
		off += n
		left -= n
	}
	if crc != h.bodyCRC {
		b.release()
		return nil, errRecord
	}
	return &Content{size: b.size, blob: b}, nil
}

func (s *Store) openLarge(e *entry) (*Content, error) {
	f, err := s.disk.open(fileName(e.serial, ".msg"))
	if err != nil {
		return nil, err
	}
	n, err := f.size()
	if err == nil && n < e.size {
		err = fmt.Errorf("%w: %d bytes instead of %d", errRecord, n, e.size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Content{size: e.size, large: f}, nil
}

// Size returns the number of bytes.
func (c *Content) Size() int64 { return c.size }

// NewReader returns a reader of the whole content. It must not be used after
// Close.
func (c *Content) NewReader() io.Reader {
	if c.large != nil {
		return io.NewSectionReader(c.large, 0, c.size)
	}
	return io.NewSectionReader(c.blob, 0, c.size)
}

// ReadAt implements [io.ReaderAt].
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	if off >= c.size {
		return 0, io.EOF
	}
	if c.large != nil {
		return io.NewSectionReader(c.large, 0, c.size).ReadAt(p, off)
	}
	return c.blob.ReadAt(p, off)
}

// ReadAt implements [io.ReaderAt].
func (b *blob) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < b.size {
		buf := b.bufs[off/chunkSize]
		end := min(chunkSize, b.size-off/chunkSize*chunkSize)
		k := copy(p[n:], buf[off%chunkSize:end])
		n += k
		off += int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo implements [io.WriterTo]. Content in memory is written as it lies
// there, in large pieces.
func (c *Content) WriteTo(w io.Writer) (int64, error) {
	if c.large == nil {
		return c.blob.writeTo(w)
	}
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	// The wrapper keeps io.CopyBuffer from going around the buffer.
	return io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(c.large, 0, c.size), buf[:])
}

func (b *blob) writeTo(w io.Writer) (int64, error) {
	var total int64
	for i, buf := range b.bufs {
		n, err := w.Write(buf[:min(chunkSize, b.size-int64(i)*chunkSize)])
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Close gives the content back.
func (c *Content) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return nil
	}
	if c.large != nil {
		return c.large.Close()
	}
	c.blob.release()
	return nil
}
