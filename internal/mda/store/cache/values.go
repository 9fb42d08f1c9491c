package cache

import (
	"encoding/binary"
	"errors"
	"io"
	"iter"
)

// Values are what a file has of one message. They are used again for the next.
type Values struct {
	buf  []byte // all records of the message
	list []value

	// What was read of the file lately: records of messages that follow each other
	// mostly do so in the file, too.
	src io.ReaderAt
	win []byte
	at  int64
}

type value struct{ field, start, end int }

const (
	smallWindow = 4 << 10
	largeWindow = 64 << 10
)

// errFields says that a record has a field that the field header read does not have.
var errFields = errors.New("cache: a new field")

// Get returns the value of a field, by its number in the file. It is valid until the
// next message is loaded.
func (v *Values) Get(field int) ([]byte, bool) {
	for i := range v.list {
		if v.list[i].field == field {
			return v.buf[v.list[i].start:v.list[i].end], true
		}
	}
	return nil, false
}

// All returns fields, by number, and values in the order of the file.
func (v *Values) All() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for _, x := range v.list {
			if !yield(x.field, v.buf[x.start:x.end]) {
				return
			}
		}
	}
}

// reset forgets the message, and the file if it is another one.
func (v *Values) reset(r io.ReaderAt) {
	v.buf, v.list = v.buf[:0], v.list[:0]
	if v.src != r {
		v.src, v.win = r, v.win[:0]
	}
}

// load reads all records of the message whose last one is at off.
func (v *Values) load(r io.ReaderAt, fields []Field, off uint32) error {
	v.reset(r)
	for off != 0 {
		prev, err := v.record(fields, off)
		if err != nil {
			v.reset(r)
			return err
		}
		if prev >= off {
			return damaged("record at %d continues one at %d", off, prev)
		}
		off = prev
	}
	return nil
}

// record reads the record at off.
func (v *Values) record(fields []Field, off uint32) (prev uint32, err error) {
	le := binary.LittleEndian
	if off%4 != 0 || off < headerSize {
		return 0, damaged("record at %d", off)
	}
	head, err := v.window(int64(off), recordHead)
	if err != nil {
		return 0, err
	}
	prev, size := le.Uint32(head), le.Uint32(head[4:])
	if size < recordHead || size > maxRecord || len(v.buf)+int(size) > maxChain {
		return 0, damaged("record of %d bytes at %d", size, off)
	}
	b, err := v.window(int64(off), int(size))
	if err != nil {
		return 0, err
	}
	start := len(v.buf)
	v.buf = append(v.buf, b...)
	return prev, v.fields(fields, start+recordHead)
}

// fields finds the values of the record that ends what was read and has them from at on.
func (v *Values) fields(fields []Field, at int) error {
	le := binary.LittleEndian
	for at < len(v.buf) {
		if len(v.buf)-at < 4 {
			return damaged("record with %d bytes too many", len(v.buf)-at)
		}
		n := int(le.Uint32(v.buf[at:]))
		at += 4
		if n < 0 || n >= len(fields) {
			return errFields
		}
		f := &fields[n]
		size := f.Size
		if size == variable {
			if len(v.buf)-at < 4 {
				return damaged("record ends in field %s", f.Name)
			}
			size = le.Uint32(v.buf[at:])
			at += 4
		}
		if int64(size) > int64(len(v.buf)-at) {
			return damaged("record ends in field %s", f.Name)
		}
		v.add(n, f, at, at+int(size))
		at = min(at+(int(size)+3)&^3, len(v.buf))
	}
	return nil
}

// add notes a value, unless a newer one is known.
func (v *Values) add(n int, f *Field, start, end int) {
	for i := range v.list {
		if v.list[i].field != n {
			continue
		}
		if old := v.list[i]; f.Kind == Bitmask && old.end-old.start == end-start {
			for k := range end - start {
				v.buf[old.start+k] |= v.buf[start+k]
			}
		}
		return
	}
	v.list = append(v.list, value{n, start, end})
}

// window returns n bytes of the file, valid until the next call.
func (v *Values) window(off int64, n int) ([]byte, error) {
	if i := off - v.at; i >= 0 && i+int64(n) <= int64(len(v.win)) {
		return v.win[i : i+int64(n)], nil
	}
	size := smallWindow
	if near := off - v.at - int64(len(v.win)); len(v.win) > 0 && near > -largeWindow && near < largeWindow {
		size = largeWindow // in order
	}
	size = max(size, n)
	if cap(v.win) < size {
		v.win = make([]byte, 0, size)
	}
	m, err := v.src.ReadAt(v.win[:size], off)
	v.win, v.at = v.win[:m], off
	if m >= n {
		return v.win[:n], nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = damaged("record at %d is beyond the end of the file", off)
	}
	return nil, err
}
