package compress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// HeadSize is how many bytes of a stored message [Detect] wants.
const HeadSize = len(lz4Magic)

// Errors that callers tell apart.
var (
	// ErrDamaged means that a compressed message cannot be decompressed.
	ErrDamaged = errors.New("compressed message is damaged")
	// ErrRefused is about a message that is to be saved as it is, but would be
	// decompressed when it is read. The words are Dovecot's.
	ErrRefused = errors.New("Saving mails compressed by client isn't supported")
)

// A Method is a way to compress.
type Method struct {
	Name string
	// Of zlib_save_level. A method that is only read has none.
	MinLevel, MaxLevel, DefaultLevel int

	magic  string
	reader func(r io.Reader) (io.ReadCloser, error)
	writer func(w io.Writer, level int) (io.WriteCloser, error)
}

var methods = [...]Method{
	{Name: "gz", magic: "\x1f\x8b", MaxLevel: 9, DefaultLevel: 6, reader: newGzipReader, writer: newGzipWriter},
	{Name: "bz2", magic: "BZh", MinLevel: 1, MaxLevel: 9, DefaultLevel: 9, reader: newBzip2Reader, writer: newBzip2Writer},
	{Name: "xz", magic: "\xfd7zXZ\x00", reader: newXZReader},
	{Name: "lz4", magic: lz4Magic, MinLevel: 1, MaxLevel: 9, DefaultLevel: 1, reader: newLZ4Reader, writer: newLZ4Writer},
	{Name: "zstd", magic: "\x28\xb5\x2f\xfd", MinLevel: -131072, MaxLevel: 22, DefaultLevel: 3, reader: newZstdReader, writer: newZstdWriter},
}

// Lookup returns the method that zlib_save names. The error is Dovecot's.
func Lookup(name string) (*Method, error) {
	for i := range methods {
		if m := &methods[i]; m.Name == name {
			if m.writer == nil {
				return nil, fmt.Errorf("zlib_save: Support not compiled in for handler: %s", name)
			}
			return m, nil
		}
	}
	if name == "deflate" {
		return nil, errors.New("zlib_save: deflate: what is saved so could not be read again; saving uncompressed")
	}
	return nil, fmt.Errorf("zlib_save: Unknown handler: %s", name)
}

// Detect returns the method by which a stored message that begins with head is
// compressed, nil for none.
func Detect(head []byte) *Method {
	for i := range methods {
		m := &methods[i]
		if !bytes.HasPrefix(head, []byte(m.magic)) {
			continue
		}
		if n := len(m.magic); m.Name == "bz2" && (len(head) == n || head[n] < '1' || head[n] > '9') {
			continue
		}
		return m
	}
	return nil
}

// NewReader decompresses r. What it returns need not be read to the end.
func (m *Method) NewReader(r io.Reader) (io.ReadCloser, error) {
	rc, err := m.reader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, m.Name, err)
	}
	return rc, nil
}

// NewWriter compresses to w; level must be one of the method's. Close completes
// the stream, and leaves w open.
func (m *Method) NewWriter(w io.Writer, level int) (io.WriteCloser, error) { return m.writer(w, level) }
