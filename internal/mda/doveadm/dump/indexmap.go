package dump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sort"
)

// Offsets in the header of dovecot.index.
const (
	indexHeaderSize = 120
	hdrMinor        = 1
	hdrBaseSize     = 2
	hdrSize         = 4
	hdrRecordSize   = 8
	hdrCompat       = 12
	hdrIndexID      = 16
	hdrFlags        = 20
	hdrUIDValidity  = 24
	hdrNextUID      = 28
	hdrMessages     = 32
	hdrSeen         = 40
	hdrDeleted      = 44
	hdrFirstRecent  = 48
	hdrUnseenLow    = 52
	hdrDeletedLow   = 56
	hdrLogSeq       = 60
	hdrLogTail      = 64
	hdrLogHead      = 68
	hdrLog2Rotate   = 76
	hdrTempScan     = 80
	hdrDayStamp     = 84
	hdrDayFirst     = 88
)

const (
	flagSeen    = 0x08
	flagDeleted = 0x04
	flagDirty   = 0x80

	hdrFlagDirty = 0x2
	hdrFlagFsckd = 0x4

	minRecord  = 8 // uid, flags, and three bytes that extensions may use
	recordData = 5 // where these begin

	extKeywords = "keywords"
	extModSeq   = "modseq"
	extCache    = "cache"

	maxRecordSize = 32768
	maxExtHeader  = 16 << 20
)

// An extension of the index.
type extension struct {
	name    string
	header  []byte // with its padding
	size    int    // of the header without
	resetID uint32
	offset  int // in records
	width   int
	align   int
}

// headerSize is what the extension takes in the header of the file.
func (e *extension) headerSize() int { return pad(16+len(e.name), 8) + len(e.header) }

// An indexMap is dovecot.index as it would be written now.
type indexMap struct {
	hdr      [indexHeaderSize]byte
	exts     []extension
	records  []byte // of recordSize bytes each
	keywords []string

	// registered are the extensions with the record sizes that they had when they were
	// first seen, which are those shown.
	registered []registered
}

type registered struct {
	name         string
	width, align int
}

// newIndexMap returns the map of an index of which nothing is known.
func newIndexMap(indexID uint32) *indexMap {
	m := &indexMap{}
	m.hdr[0], m.hdr[hdrMinor], m.hdr[hdrCompat] = 7, 3, 1
	binary.LittleEndian.PutUint16(m.hdr[hdrBaseSize:], indexHeaderSize)
	m.set(hdrSize, indexHeaderSize)
	m.set(hdrRecordSize, minRecord)
	m.set(hdrIndexID, indexID)
	m.set(hdrLogSeq, 1)
	m.set(hdrNextUID, 1)
	m.set(hdrFirstRecent, 1)
	m.register(extKeywords, 2, 1)
	m.register(extModSeq, 8, 8)
	return m
}

func (m *indexMap) get(off int) uint32    { return le32(m.hdr[off:]) }
func (m *indexMap) set(off int, v uint32) { binary.LittleEndian.PutUint32(m.hdr[off:], v) }

func (m *indexMap) recordSize() int     { return int(m.get(hdrRecordSize)) }
func (m *indexMap) count() int          { return len(m.records) / m.recordSize() }
func (m *indexMap) record(i int) []byte { return m.records[i*m.recordSize() : (i+1)*m.recordSize()] }
func (m *indexMap) uid(i int) uint32    { return le32(m.records[i*m.recordSize():]) }

// find returns the number of the first message with at least this uid.
func (m *indexMap) find(uid uint32) int {
	return sort.Search(m.count(), func(i int) bool { return m.uid(i) >= uid })
}

func (m *indexMap) ext(name string) *extension {
	for i := range m.exts {
		if m.exts[i].name == name {
			return &m.exts[i]
		}
	}
	return nil
}

func (m *indexMap) register(name string, width, align int) {
	for i := range m.registered {
		if m.registered[i].name == name {
			return
		}
	}
	m.registered = append(m.registered, registered{name, width, align})
}

// data returns the record of an extension of message i; nil if it has none.
func (m *indexMap) data(i int, e *extension, width int) []byte {
	if e == nil || e.offset == 0 || e.width == 0 || e.offset+width > m.recordSize() {
		return nil
	}
	return m.record(i)[e.offset : e.offset+width]
}

// resized notes in the header how large it is.
func (m *indexMap) resized() {
	size := pad(indexHeaderSize, 8)
	for i := range m.exts {
		size += m.exts[i].headerSize()
	}
	m.set(hdrSize, uint32(size))
}

// readIndexMap reads dovecot.index. An index that is not there or cannot be used
// is not an error: what then remains is in the logs.
func readIndexMap(path string) (m *indexMap, err error) {
	b, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) < indexHeaderSize {
		return nil, fmt.Errorf("it has %d bytes", len(b))
	}
	m = newIndexMap(0)
	copy(m.hdr[:], b)
	base, size, width := int(le16(b[hdrBaseSize:])), int64(m.get(hdrSize)), m.recordSize()
	switch {
	case m.hdr[0] != 7 || m.hdr[hdrCompat] != 1:
		return nil, fmt.Errorf("version %d, flags %#x", m.hdr[0], m.hdr[hdrCompat])
	case base < indexHeaderSize || size < int64(base) || size > int64(len(b)) || width < minRecord || width > maxRecordSize:
		return nil, fmt.Errorf("headers of %d and %d bytes, records of %d", base, size, width)
	}
	if err := m.extensionHeaders(b[:size], pad(base, 8)); err != nil {
		return nil, err
	}
	n := int(m.get(hdrMessages))
	b = b[size:]
	if n > len(b)/width {
		err, n = fmt.Errorf("%d messages in the header, %d in the file", n, len(b)/width), len(b)/width
		m.set(hdrMessages, uint32(n))
	}
	m.records = b[: n*width : n*width]
	return m, err
}

func (m *indexMap) extensionHeaders(b []byte, at int) error {
	for at < len(b) {
		if len(b)-at < 16 {
			return fmt.Errorf("extension header at %d is cut", at)
		}
		h, e := b[at:], extension{}
		e.size, e.resetID = int(le32(h)), le32(h[4:])
		e.offset, e.width, e.align = int(le16(h[8:])), int(le16(h[10:])), int(le16(h[12:]))
		name := int(le16(h[14:]))
		data := pad(16+name, 8)
		if e.size > maxExtHeader || data+pad(e.size, 8) > len(h) {
			return fmt.Errorf("extension header at %d is cut", at)
		}
		e.name, e.header = string(h[16:16+name]), append([]byte(nil), h[data:data+pad(e.size, 8)]...)
		if m.ext(e.name) != nil || e.width > 0 && (e.align == 0 || e.offset < recordData || e.offset+e.width > m.recordSize()) {
			return fmt.Errorf("extension header %q at %d contradicts the others", e.name, at)
		}
		m.exts = append(m.exts, e)
		m.register(e.name, e.width, e.align)
		at += data + pad(e.size, 8)
	}
	return m.parseKeywords()
}

// parseKeywords reads the names of the keywords.
func (m *indexMap) parseKeywords() error {
	e := m.ext(extKeywords)
	if e == nil || e.size < 4 {
		return nil
	}
	n, h := int(le32(e.header)), e.header[:e.size]
	if n > (len(h)-4)/8 {
		return fmt.Errorf("%d keywords in %d bytes", n, len(h))
	}
	m.keywords = nil
	names := h[4+8*n:]
	for i := range n {
		off := int(le32(h[4+8*i+4:]))
		if off >= len(names) {
			return fmt.Errorf("name of keyword %d is missing", i)
		}
		m.keywords = append(m.keywords, cString(names[off:]))
	}
	return nil
}
