package dump

import (
	"encoding/binary"
	"fmt"
)

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// pad rounds n up to a multiple of align.
func pad(n, align int) int { return (n + align - 1) / align * align }

// Types of records in dovecot.index.log.
const (
	recExpunge       = 0x1
	recAppend        = 0x2
	recFlagUpdate    = 0x4
	recHeaderUpdate  = 0x20
	recExtIntro      = 0x40
	recExtReset      = 0x80
	recExtHeader     = 0x100
	recExtRecords    = 0x200
	recKeywordUpdate = 0x400
	recKeywordReset  = 0x800
	recAtomicInc     = 0x1000
	recExpungeGUID   = 0x2000
	recModSeq        = 0x8000
	recExtHeader32   = 0x10000
	recDeleted       = 0x20000
	recUndeleted     = 0x40000
	recBoundary      = 0x80000
	recAttribute     = 0x100000

	typeMask      = 0x0fffffff
	typeExternal  = 0x10000000
	typeSync      = 0x20000000
	expungeGuard  = 0xcd90
	guardExpunge  = recExpunge | expungeGuard
	guardExpunge2 = recExpungeGUID | expungeGuard

	recordHeader = 8
)

// A record is one of dovecot.index.log.
type record struct {
	typ     uint32 // with all flags
	size    int    // with its header
	payload []byte
}

func (r *record) external() bool { return r.typ&typeExternal != 0 }
func (r *record) kind() uint32   { return r.typ & typeMask }

// encodedSize decodes a length or offset of which every byte has bit 7 set; 0 if
// it was not completely written.
func encodedSize(b []byte) int {
	if b[0]&b[1]&b[2]&b[3]&0x80 == 0 {
		return 0
	}
	return (int(b[0]&0x7f)<<21 | int(b[1]&0x7f)<<14 | int(b[2]&0x7f)<<7 | int(b[3]&0x7f)) << 2
}

// ranges calls fn for the pairs of u32 at the begin of items of the given size. It
// reports whether b consists of such.
func ranges(b []byte, size int, fn func(first, last uint32, item []byte)) bool {
	for ; len(b) >= size; b = b[size:] {
		fn(le32(b), le32(b[4:]), b[:size])
	}
	return len(b) == 0
}

// updates calls fn for the pieces of a header update: an offset and a size of
// width bytes each, data, padded to 4.
func updates(b []byte, width int, fn func(off, size int, data []byte) error) error {
	for i := 0; i < len(b); {
		rest := b[i:]
		if len(rest) < 2*width {
			return fmt.Errorf("header update of %d bytes", len(rest))
		}
		off, size := int(le16(rest)), int(le16(rest[2:]))
		if width == 4 {
			off, size = int(le32(rest)), int(le32(rest[4:]))
		}
		if size > len(rest)-2*width {
			return fmt.Errorf("header update of %d bytes at %d is cut", size, off)
		}
		if err := fn(off, size, rest[2*width:2*width+size]); err != nil {
			return err
		}
		i += pad(2*width+size, 4)
	}
	return nil
}

// keywordUpdate splits the payload of a KEYWORD_UPDATE.
func keywordUpdate(b []byte) (op byte, name string, uids []byte, ok bool) {
	if len(b) < 4 {
		return 0, "", nil, false
	}
	end := 4 + int(le16(b[2:]))
	if end == 4 || pad(end, 4) > len(b) {
		return 0, "", nil, false
	}
	return b[0], string(b[4:end]), b[pad(end, 4):], true
}

// modSeqAfter returns the highest modseq after the record, if it was modseq before.
func (r *record) modSeqAfter(modseq uint64, minor byte) uint64 {
	if modseq == 0 {
		if p := r.payload; r.kind() == recExtIntro && len(p) >= 20+len(extModSeq) && string(p[20:20+le16(p[18:])]) == extModSeq {
			return 1
		}
		return 0
	}
	switch r.kind() {
	case guardExpunge, guardExpunge2:
		if r.external() {
			modseq++
		}
	case recAppend, recKeywordUpdate, recKeywordReset, recAttribute:
		modseq++
	case recFlagUpdate:
		if minor < 3 || visibleFlags(r.payload) {
			modseq++
		}
	case recModSeq:
		for p := r.payload; len(p) >= 12; p = p[12:] {
			modseq = max(modseq, uint64(le32(p[8:]))<<32|uint64(le32(p[4:])))
		}
	}
	return modseq
}

// visibleFlags tells whether a FLAG_UPDATE changes something that clients see.
func visibleFlags(p []byte) bool {
	for ; len(p) >= 12; p = p[12:] {
		if visibleFlag(p) {
			return true
		}
	}
	return false
}

func visibleFlag(item []byte) bool { return (item[8]|item[9])&0x1f != 0 || item[10] != 0 }
