package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	major      = 1
	minor      = 1
	offsetSize = 8

	headerSize      = 32
	recordHead      = 8
	fieldHeaderHead = 12
	fieldSize       = 4 + 4 + 1 + 1 // of a field in its header, without the name
	variable        = 0xffffffff

	// Limits on what is read, far above what Dovecot writes.
	maxFieldHeader = 4 << 20
	maxFields      = 16384
	maxHops        = 4096
	maxRecord      = 16 << 20
	maxChain       = 32 << 20
)

// ErrDamaged is wrapped by errors about a file that contradicts itself.
var ErrDamaged = errors.New("damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrDamaged)...)
}

// A Header is what the file begins with.
type Header struct {
	IndexID   uint32
	FileSeq   uint32
	Continued uint32 // records
	Records   uint32
	UsedSize  uint32
	Deleted   uint32
	Fields    uint32 // offset of the first field header; 0 for none
}

func (h *Header) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, major, offsetSize, minor, 0)
	for _, v := range [...]uint32{h.IndexID, h.FileSeq, h.Continued, h.Records, h.UsedSize, h.Deleted} {
		b = le.AppendUint32(b, v)
	}
	return appendOffset(b, h.Fields)
}

// DecodeHeader decodes the begin of a file.
func DecodeHeader(b []byte) (h Header, err error) {
	if len(b) < headerSize {
		return h, damaged("file of %d bytes", len(b))
	}
	if b[0] != major {
		return h, damaged("unsupported major version %d", b[0])
	}
	if b[1] != offsetSize {
		return h, damaged("unsupported size of offsets %d", b[1])
	}
	le := binary.LittleEndian
	for i, v := range [...]*uint32{&h.IndexID, &h.FileSeq, &h.Continued, &h.Records, &h.UsedSize, &h.Deleted} {
		*v = le.Uint32(b[4+4*i:])
	}
	h.Fields = decodeOffset(b[28:])
	if h.FileSeq == 0 {
		return h, damaged("file sequence is 0")
	}
	return h, nil
}

func appendOffset(b []byte, off uint32) []byte {
	if off == 0 {
		return append(b, 0, 0, 0, 0)
	}
	v := off >> 2
	return append(b, 0x80|byte(v>>21), 0x80|byte(v>>14), 0x80|byte(v>>7), 0x80|byte(v))
}

func decodeOffset(b []byte) uint32 {
	if b[0]&b[1]&b[2]&b[3]&0x80 == 0 {
		return 0
	}
	return (uint32(b[0]&0x7f)<<21 | uint32(b[1]&0x7f)<<14 | uint32(b[2]&0x7f)<<7 | uint32(b[3]&0x7f)) << 2
}

// A Kind is what values of a field are.
type Kind uint8

// The kinds of fields.
const (
	Fixed Kind = iota
	Variable
	String
	Bitmask
	HeaderLines // u32 line numbers, 0, the lines
)

var kindNames = [...]string{"fixed", "variable", "string", "bitmask", "header"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// A Decision is which messages a field is cached of.
type Decision uint8

// The decisions.
const (
	No   Decision = iota // none
	Temp                 // new ones
	Yes                  // all

	forced = 0x80
)

func (d Decision) String() string {
	switch d {
	case No:
		return "no"
	case Temp:
		return "temp"
	case Yes:
		return "yes"
	}
	return fmt.Sprintf("decision %d", uint8(d))
}

// A Field is a field that the file may have values of.
type Field struct {
	Name     string
	Kind     Kind
	Size     uint32 // of a value; 1<<32-1 if they differ
	Decision Decision
	LastUsed uint32 // Unix time, a day or so exact
}

// IsVariable reports whether values differ in size.
func (f *Field) IsVariable() bool { return f.Size == variable }

// appendFields appends a field header and its padding.
func appendFields(b []byte, fields []Field) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = append(b, make([]byte, fieldHeaderHead)...)
	for i := range fields {
		b = le.AppendUint32(b, fields[i].LastUsed)
	}
	for i := range fields {
		b = le.AppendUint32(b, fields[i].Size)
	}
	for i := range fields {
		b = append(b, byte(fields[i].Kind))
	}
	for i := range fields {
		b = append(b, byte(fields[i].Decision))
	}
	for i := range fields {
		b = append(append(b, fields[i].Name...), 0)
	}
	le.PutUint32(b[start+4:], uint32(len(b)-start))
	le.PutUint32(b[start+8:], uint32(len(fields)))
	return pad4(b)
}

func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// parseFields decodes a field header.
func parseFields(b []byte) ([]Field, error) {
	le := binary.LittleEndian
	n := int(le.Uint32(b[8:]))
	if n > maxFields || fieldHeaderHead+n*fieldSize > len(b) {
		return nil, damaged("field header of %d bytes for %d fields", len(b), n)
	}
	used := b[fieldHeaderHead:]
	sizes, kinds := used[4*n:], used[8*n:]
	decisions, names := used[9*n:], used[10*n:]
	fields := make([]Field, n)
	seen := make(map[string]bool, n)
	for i := range fields {
		end := bytes.IndexByte(names, 0)
		if end <= 0 {
			return nil, damaged("name of field %d", i)
		}
		f := &fields[i]
		*f = Field{
			Name: string(names[:end]), Kind: Kind(kinds[i]), Size: le.Uint32(sizes[4*i:]),
			Decision: Decision(decisions[i] &^ forced), LastUsed: le.Uint32(used[4*i:]),
		}
		names = names[end+1:]
		key := strings.ToLower(f.Name)
		if f.Kind > HeaderLines || f.Decision > Yes || seen[key] || f.Size != variable && f.Size > maxRecord {
			return nil, damaged("field %q: %v, %v, size %d", f.Name, f.Kind, f.Decision, f.Size)
		}
		seen[key] = true
		if f.Kind != Fixed && f.Kind != Bitmask {
			f.Size = variable
		}
	}
	return fields, nil
}

// readFields reads the last field header of the chain that begins at from. at is where
// it is, hops how many there are.
func readFields(r io.ReaderAt, from uint32) (raw []byte, at uint32, hops int, err error) {
	var head [fieldHeaderHead]byte
	for next := from; next != 0; hops++ {
		if next < headerSize || next <= at || hops == maxHops {
			return nil, 0, 0, damaged("field header at %d follows that at %d", next, at)
		}
		if err := readFull(r, head[:], int64(next)); err != nil {
			return nil, 0, 0, err
		}
		at, next = next, decodeOffset(head[:])
	}
	if at == 0 {
		return nil, 0, 0, damaged("no field header")
	}
	size := binary.LittleEndian.Uint32(head[4:])
	if size < fieldHeaderHead || size > maxFieldHeader {
		return nil, 0, 0, damaged("field header of %d bytes", size)
	}
	raw = make([]byte, size)
	return raw, at, hops, readFull(r, raw, int64(at))
}

// readFull fills b; that the file ends before is damage.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) || err == nil {
		return damaged("nothing at %d", off+int64(n))
	}
	return err
}

func appendU32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func putU32(b []byte, v uint32)           { binary.LittleEndian.PutUint32(b, v) }
