package lmtp

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// Messages up to memoryLimit are kept in memory, larger ones in a file. Most are
// small, so the first buffer is.
const (
	firstBuffer = 16 << 10
	memoryLimit = 128 << 10
)

var (
	firstBuffers = sync.Pool{New: func() any { return new([firstBuffer]byte) }}
	fullBuffers  = sync.Pool{New: func() any { return new([memoryLimit]byte) }}
)

// A content is a message being received, or received.
type content struct {
	dir  string // mail_temp_dir
	buf  []byte
	file *os.File // unlinked; holds everything once it exists
	size int64

	first *[firstBuffer]byte
	full  *[memoryLimit]byte
}

func newContent(dir string) *content {
	c := &content{dir: dir, first: firstBuffers.Get().(*[firstBuffer]byte)}
	c.buf = c.first[:0]
	return c
}

// Size returns the length so far.
func (c *content) Size() int64 { return c.size }

// Write adds p.
func (c *content) Write(p []byte) (int, error) {
	if c.file == nil && len(c.buf)+len(p) > cap(c.buf) {
		if err := c.grow(len(p)); err != nil {
			return 0, err
		}
	}
	if c.file != nil && len(c.buf)+len(p) > cap(c.buf) {
		if err := c.spill(); err != nil {
			return 0, err
		}
		if len(p) > cap(c.buf) {
			n, err := c.file.Write(p)
			c.size += int64(n)
			return n, err
		}
	}
	c.buf = append(c.buf, p...)
	c.size += int64(len(p))
	return len(p), nil
}

// grow makes room for n more bytes: in the large buffer, or in a file.
func (c *content) grow(n int) error {
	if c.full == nil && len(c.buf)+n <= memoryLimit {
		c.full = fullBuffers.Get().(*[memoryLimit]byte)
		c.buf = append(c.full[:0], c.buf...)
		return nil
	}
	f, err := os.CreateTemp(c.dir, "dovecot.lmtp.")
	if err != nil {
		return fmt.Errorf("temporary file for message: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return fmt.Errorf("temporary file for message: %w", err)
	}
	c.file = f
	return nil
}

// spill writes the buffer to the file.
func (c *content) spill() error {
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.file.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// finish must be called before reading.
func (c *content) finish() error {
	if c.file == nil {
		return nil
	}
	return c.spill()
}

// ReadAt reads what was written.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if c.file != nil {
		return c.file.ReadAt(p, off)
	}
	if off < 0 || off >= int64(len(c.buf)) {
		return 0, io.EOF
	}
	n := copy(p, c.buf[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo writes all of it to w.
func (c *content) WriteTo(w io.Writer) (int64, error) {
	if c.file == nil {
		n, err := w.Write(c.buf)
		return int64(n), err
	}
	return copyContent(w, c)
}

// copyContent writes msg to w in large pieces.
func copyContent(w io.Writer, msg Content) (int64, error) {
	buf := fullBuffers.Get().(*[memoryLimit]byte)
	defer fullBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.NewSectionReader(msg, 0, msg.Size())}, buf[:])
}

// close gives buffers and file back.
func (c *content) close() {
	if c.file != nil {
		c.file.Close() //nolint:errcheck // unlinked, nothing is lost
	}
	if c.first != nil {
		firstBuffers.Put(c.first)
	}
	if c.full != nil {
		fullBuffers.Put(c.full)
	}
	*c = content{}
}
