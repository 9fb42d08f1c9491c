package listindex

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
)

// A nameTable is the header of the extension "list".
type nameTable struct {
	text map[uint32]string
	high uint32 // the highest id
	end  int    // offset of the id 0 that ends the header
	size int    // of the header
}

var errNames = errors.New("the names in the header are damaged")

// parse reads the header as far as it is valid.
func (t *nameTable) parse(b []byte) error {
	*t = nameTable{text: make(map[uint32]string), end: 1, size: len(b)}
	for len(b) >= t.end+4 {
		id := binary.LittleEndian.Uint32(b[t.end:])
		if id == 0 {
			return nil
		}
		n := bytes.IndexByte(b[t.end+4:], 0)
		if id <= t.high || n < 0 {
			return errNames
		}
		t.text[id], t.high = string(b[t.end+4:t.end+4+n]), id
		t.end += 4 + n + 1
	}
	if len(b) > 1 && t.end != len(b) {
		return errNames
	}
	return nil
}

// add takes a name in and returns its id.
func (t *nameTable) add(name string) uint32 {
	t.high++
	t.text[t.high] = name
	return t.high
}

// appendName appends a name as it is in the header.
func appendName(b []byte, id uint32, name string) []byte {
	b = binary.LittleEndian.AppendUint32(b, id)
	b = append(b, name...)
	return append(b, 0)
}

// roomFor returns the size of a header for so many bytes: a power of two, as Dovecot's.
func roomFor(n int) int { return 1 << bits.Len(uint(max(n, 16)-1)) }
