package index

import (
	"encoding/binary"
	"math"
)

// Types of log records.
const (
	recExpunge      = 0x1
	recAppend       = 0x2
	recFlagUpdate   = 0x4
	recHeaderUpdate = 0x20
	recExtIntro     = 0x40
	recExtReset     = 0x80
	recExtHdrUpdate = 0x100
	recExtRecUpdate = 0x200
	recKeywords     = 0x400
	recKeywordReset = 0x800
	recAtomicInc    = 0x1000
	recExpungeGUID  = 0x2000
	recModSeq       = 0x8000
	recExtHdr32     = 0x10000
	recIndexDeleted = 0x20000
	recUndeleted    = 0x40000
	recBoundary     = 0x80000
	recAttribute    = 0x100000

	typeMask     = 0x0fffffff
	typeExternal = 0x10000000
	typeSync     = 0x20000000 // a hint
	// expungeGuard must accompany both expunge types.
	expungeGuard = 0xcd90

	recHeaderSize = 8
	boundarySize  = recHeaderSize + 4
	maxRecordLen  = 1<<30 - 4
)

// A record is one record of the log.
type record struct {
	typ      uint32 // without flags and guard
	external bool
	payload  []byte
}

// appendLen appends the encoded length n, a multiple of 4.
func appendLen(b []byte, n int) []byte {
	v := uint32(n) >> 2
	return append(b, 0x80|byte(v>>21), 0x80|byte(v>>14), 0x80|byte(v>>7), 0x80|byte(v))
}

// decodeLen is the reverse of appendLen; ok is false for a length that was not
// completely written.
func decodeLen(b []byte) (n int, ok bool) {
	if b[0]&b[1]&b[2]&b[3]&0x80 == 0 {
		return 0, false
	}
	v := uint32(b[0]&0x7f)<<21 | uint32(b[1]&0x7f)<<14 | uint32(b[2]&0x7f)<<7 | uint32(b[3]&0x7f)
	return int(v) << 2, true
}

// nextRecord splits the first record off b. n is 0 if it is not complete. A
// record that can never become valid is damage.
func nextRecord(b []byte) (r record, n int, err error) {
	if len(b) < recHeaderSize {
		return r, 0, nil
	}
	n, ok := decodeLen(b)
	if !ok || n == 0 || n > len(b) {
		return r, 0, nil
	}
	if n <= recHeaderSize {
		return r, 0, damaged("log record of %d bytes", n)
	}
	typ := binary.LittleEndian.Uint32(b[4:])
	r.external = typ&typeExternal != 0
	r.typ = typ & typeMask
	switch r.typ {
	case recExpunge | expungeGuard:
		r.typ = recExpunge
	case recExpungeGUID | expungeGuard:
		r.typ = recExpungeGUID
	case recExpunge, recExpungeGUID:
		return r, 0, damaged("expunge record without guard bits")
	}
	r.payload = b[recHeaderSize:n]
	return r, n, nil
}

// complete returns the length of the leading part of b that consists of
// complete records and groups. After a power failure the last group may have its
// length and lack a part in the middle; it is not complete then. A group that does not
// consist of records and is not the last is damage.
func complete(b []byte) (n int, err error) {
	for n < len(b) {
		r, size, err := nextRecord(b[n:])
		if err != nil {
			return n, err
		}
		if size == 0 {
			return n, nil
		}
		if r.typ == recBoundary {
			group := int(binary.LittleEndian.Uint32(r.payload))
			switch {
			case group > len(b)-n:
				return n, nil
			case group < size || !wellFormed(b[n:n+group]):
				if group == len(b)-n {
					return n, nil
				}
				return n, damaged("log records do not end where their group of %d bytes does", group)
			}
			size = group
		}
		n += size
	}
	return n, nil
}

// wellFormed tells whether b consists of records.
func wellFormed(b []byte) bool {
	for len(b) > 0 {
		_, n, err := nextRecord(b)
		if n == 0 || err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

// groupLen returns the length of the first group or single record of b, which is
// complete.
func groupLen(b []byte) int {
	r, n, _ := nextRecord(b)
	if r.typ == recBoundary && len(r.payload) >= 4 {
		return max(n, min(int(binary.LittleEndian.Uint32(r.payload)), len(b)))
	}
	return n
}

// countsModSeq tells whether the record makes the mailbox's modseq grow.
func (r *record) countsModSeq(minor byte) bool {
	switch r.typ {
	case recAppend, recKeywords, recKeywordReset, recAttribute:
		return true
	case recExpunge, recExpungeGUID:
		return r.external
	case recFlagUpdate:
		return minor < 3 || flagsCount(r.payload)
	}
	return false
}

// flagsCount tells whether a FLAG_UPDATE changes a flag that clients see.
func flagsCount(p []byte) bool {
	for ; len(p) >= 12; p = p[12:] {
		if (p[8]|p[9])&flagMask != 0 || p[10] != 0 {
			return true
		}
	}
	return false
}

// modSeqAfter returns the highest modseq after the complete records in b.
func modSeqAfter(modseq uint64, b []byte, minor byte) uint64 {
	for len(b) > 0 {
		r, n, err := nextRecord(b)
		if err != nil || n == 0 {
			break
		}
		if r.countsModSeq(minor) {
			modseq++
		}
		if r.typ == recModSeq {
			for p := r.payload; len(p) >= 12; p = p[12:] {
				modseq = max(modseq, modSeqOf(p))
			}
		}
		b = b[n:]
	}
	return modseq
}

func modSeqOf(p []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(p[4:])) | uint64(binary.LittleEndian.Uint32(p[8:]))<<32
}

const maxUID = math.MaxUint32
