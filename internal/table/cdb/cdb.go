// Package cdb reads and writes constant databases, the NAME.cdb that postmap(1) makes for
// "cdb:" tables, without the C library.
//
// # Format
//
// A file begins with 256 pairs of position and size, one for each hash table. Records
// follow: length of the key, length of the data, key, data. Then come the tables,
// each with twice as many slots as records: a slot is a hash and the position of the
// record, 0 in an empty one. Numbers have 4 bytes and are little-endian. A key's table is
// hash mod 256; the search begins at slot hash/256 and goes on to an empty one.
package cdb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	tables     = 256
	headerSize = tables * 8
	// maxItem bounds a key or value, so that a damaged file cannot make us allocate much.
	maxItem = 16 << 20
)

// ErrFormat is a file that is no constant database, or a damaged one.
var ErrFormat = errors.New("not a constant database, or damaged")

// ErrTooLarge is more than the format's positions of 4 bytes can name.
var ErrTooLarge = errors.New("constant databases cannot be larger than 4 GB")

func format(what string) error { return fmt.Errorf("%w: %s", ErrFormat, what) }

var le = binary.LittleEndian

// Hash is the hash function of the file format.
func Hash(key []byte) uint32 {
	h := uint32(5381)
	for _, c := range key {
		h = h*33 ^ uint32(c)
	}
	return h
}

// A Reader looks keys up. It is safe for concurrent use.
type Reader struct {
	in     io.ReaderAt
	header [headerSize]byte
}

// NewReader reads the header.
func NewReader(in io.ReaderAt) (*Reader, error) {
	r := &Reader{in: in}
	if _, err := in.ReadAt(r.header[:], 0); err != nil {
		return nil, format("no header")
	}
	if le.Uint32(r.header[:]) < headerSize {
		return nil, format("the first table begins in the header")
	}
	return r, nil
}

// Lookup returns the value of a key.
func (r *Reader) Lookup(key []byte) (value []byte, found bool, err error) {
	h := Hash(key)
	entry := r.header[h%tables*8:]
	start, slots := le.Uint32(entry), le.Uint32(entry[4:])
	var slot [8]byte
	for i := range slots {
		n := ((h>>8)%slots + i) % slots
		if _, err := r.in.ReadAt(slot[:], int64(start)+8*int64(n)); err != nil {
			return nil, false, format("a table beyond the end")
		}
		pos := le.Uint32(slot[4:])
		if pos == 0 {
			return nil, false, nil
		}
		if le.Uint32(slot[:]) != h {
			continue
		}
		k, value, err := r.record(pos, uint32(len(key)))
		if err != nil {
			return nil, false, err
		}
		if value != nil && bytes.Equal(k, key) {
			return value, true, nil
		}
	}
	return nil, false, nil
}

// anySize is the wanted length of a key if any is.
const anySize = math.MaxUint32

// record reads a record; nothing if its key has not the size wanted.
func (r *Reader) record(pos, wanted uint32) (key, value []byte, err error) {
	var head [8]byte
	if _, err := r.in.ReadAt(head[:], int64(pos)); err != nil {
		return nil, nil, format("a record beyond the end")
	}
	size, data := le.Uint32(head[:]), le.Uint32(head[4:])
	if wanted != anySize && size != wanted {
		return nil, nil, nil
	}
	if size > maxItem || data > maxItem {
		return nil, nil, format(fmt.Sprintf("a record of %d and %d bytes", size, data))
	}
	b := make([]byte, size+data)
	if _, err := r.in.ReadAt(b, int64(pos)+8); err != nil && len(b) > 0 {
		return nil, nil, format("a record beyond the end")
	}
	return b[:size], b[size:], nil
}

// Walk calls fn for each record, in the order in which they were added.
func (r *Reader) Walk(fn func(key, value []byte) error) error {
	end := le.Uint32(r.header[:])
	for pos := uint32(headerSize); pos < end; {
		key, value, err := r.record(pos, anySize)
		if err != nil {
			return err
		}
		next := uint64(pos) + 8 + uint64(len(key)) + uint64(len(value))
		if next > uint64(end) {
			return format("a record in the tables")
		}
		if err := fn(key, value); err != nil {
			return err
		}
		pos = uint32(next)
	}
	return nil
}

// A Record is a key and its value as they are stored.
type Record = struct{ Key, Value []byte }

// A slot is where a record is.
type slot struct{ hash, pos uint32 }

// Write writes a file with the given records. Of equal keys the first counts.
func Write(out io.Writer, records []Record) error {
	header := make([]byte, headerSize)
	var lists [tables][]slot
	pos := uint64(headerSize)
	for _, r := range records {
		h := Hash(r.Key)
		lists[h%tables] = append(lists[h%tables], slot{h, uint32(pos)})
		pos += 8 + uint64(len(r.Key)) + uint64(len(r.Value))
		if pos+16*uint64(len(records)) > math.MaxUint32 {
			return ErrTooLarge
		}
	}
	for i, list := range lists {
		le.PutUint32(header[8*i:], uint32(pos)) // of an empty table, too: readers take the first for the end of the records
		le.PutUint32(header[8*i+4:], uint32(2*len(list)))
		pos += 16 * uint64(len(list))
	}
	b := bufio.NewWriterSize(out, 1<<16)
	b.Write(header) //nolint:errcheck // as below: Flush tells
	for _, r := range records {
		head := le.AppendUint32(nil, uint32(len(r.Key)))
		b.Write(le.AppendUint32(head, uint32(len(r.Value)))) //nolint:errcheck
		b.Write(r.Key)                                       //nolint:errcheck
		b.Write(r.Value)                                     //nolint:errcheck
	}
	for _, list := range lists {
		b.Write(fill(list)) //nolint:errcheck
	}
	return b.Flush()
}

// fill makes one hash table.
func fill(list []slot) []byte {
	n := uint32(2 * len(list))
	out := make([]byte, 8*n)
	for _, s := range list {
		at := (s.hash >> 8) % n
		for le.Uint32(out[8*at+4:]) != 0 {
			at = (at + 1) % n
		}
		le.PutUint32(out[8*at:], s.hash)
		le.PutUint32(out[8*at+4:], s.pos)
	}
	return out
}
