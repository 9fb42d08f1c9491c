package cache

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// A Reader reads a file for those who want to see all of it (doveadm dump).
type Reader struct {
	Header Header
	Fields []Field // by number

	f *os.File
}

// Open opens a file for reading.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &Reader{f: f}
	if err := r.read(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func (r *Reader) read(f io.ReaderAt) error {
	var b [headerSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if r.Header, err = DecodeHeader(b[:n]); err != nil {
		return err
	}
	if r.Header.Fields == 0 {
		return nil
	}
	raw, _, _, err := readFields(f, r.Header.Fields)
	if err == nil {
		r.Fields, err = parseFields(raw)
	}
	return err
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

// Load reads the values of the message whose record in the index has the offset.
func (r *Reader) Load(v *Values, offset uint32) error { return r.load(r.f, v, offset) }

func (r *Reader) load(f io.ReaderAt, v *Values, offset uint32) error {
	err := v.load(f, r.Fields, offset)
	if errors.Is(err, errFields) {
		err = damaged("record at %d has an unknown field", offset)
	}
	return err
}
