package index

import (
	"encoding/binary"
	"slices"
)

// A Tx collects the records of one transaction, which becomes visible as a
// whole. Its zero value is empty.
type Tx struct {
	buf     []byte // begins with room for the boundary record
	records int
}

// Range is the uids from First to Last.
type Range struct{ First, Last uint32 }

// AppendRanges appends the ranges that cover exactly the ascending uids.
func AppendRanges(r []Range, uids []uint32) []Range {
	for _, uid := range uids {
		if n := len(r); n > 0 && r[n-1].Last+1 == uid {
			r[n-1].Last = uid
			continue
		}
		r = append(r, Range{uid, uid})
	}
	return r
}

// Empty tells whether nothing was recorded.
func (t *Tx) Empty() bool { return t.records == 0 }

// Reset empties the transaction and keeps its memory.
func (t *Tx) Reset() { t.buf, t.records = t.buf[:0], 0 }

func (t *Tx) begin(typ uint32) (start int) {
	if len(t.buf) == 0 {
		t.buf = append(t.buf, make([]byte, boundarySize)...)
	}
	t.records++
	start = len(t.buf)
	t.buf = append(t.buf, 0, 0, 0, 0)
	t.u32(typ)
	return start
}

func (t *Tx) end(start int) {
	for len(t.buf)%4 != 0 {
		t.buf = append(t.buf, 0)
	}
	appendLen(t.buf[start:start], len(t.buf)-start)
}

func (t *Tx) u16(v uint16) { t.buf = binary.LittleEndian.AppendUint16(t.buf, v) }
func (t *Tx) u32(v uint32) { t.buf = binary.LittleEndian.AppendUint32(t.buf, v) }

// bytes returns what is written to the log.
func (t *Tx) bytes() []byte {
	if t.records < 2 {
		return t.buf[boundarySize:]
	}
	b := appendLen(t.buf[:0], boundarySize)
	b = binary.LittleEndian.AppendUint32(b, recBoundary|typeExternal)
	binary.LittleEndian.AppendUint32(b, uint32(len(t.buf)))
	return t.buf
}

// New is a message to append.
type New struct {
	UID   uint32
	Flags byte
}

// Append records new messages, in ascending order. All get one modseq.
func (t *Tx) Append(msgs ...New) {
	start := t.begin(recAppend | typeExternal)
	for _, m := range msgs {
		t.u32(m.UID)
		t.buf = append(t.buf, m.Flags, 0, 0, 0)
	}
	t.end(start)
}

// Flags records that flags are added to and removed from messages.
func (t *Tx) Flags(ranges []Range, add, remove byte) {
	start := t.begin(recFlagUpdate | typeExternal)
	for _, r := range ranges {
		t.u32(r.First)
		t.u32(r.Last)
		t.buf = append(t.buf, add, remove, 0, 0)
	}
	t.end(start)
}

// A KeywordOp is what a keyword record does.
type KeywordOp byte

// Operations on keywords.
const (
	KeywordAdd KeywordOp = iota
	KeywordRemove
	KeywordReplace // removes all others
)

// Keyword records a change of one keyword.
func (t *Tx) Keyword(op KeywordOp, name string, ranges []Range) {
	start := t.begin(recKeywords | typeExternal)
	t.buf = append(t.buf, byte(op), 0)
	t.u16(uint16(len(name)))
	t.buf = append(t.buf, name...)
	for len(t.buf)%4 != 0 {
		t.buf = append(t.buf, 0)
	}
	t.ranges(ranges)
	t.end(start)
}

// KeywordReset records that messages lose all keywords.
func (t *Tx) KeywordReset(ranges []Range) {
	start := t.begin(recKeywordReset | typeExternal)
	t.ranges(ranges)
	t.end(start)
}

func (t *Tx) ranges(ranges []Range) {
	for _, r := range ranges {
		t.u32(r.First)
		t.u32(r.Last)
	}
}

// An Expunged message is named by uid and GUID (zero if unknown).
type Expunged struct {
	UID  uint32
	GUID [16]byte
}

// Expunge records that messages are gone.
func (t *Tx) Expunge(msgs []Expunged) {
	start := t.begin(recExpungeGUID | expungeGuard | typeExternal)
	for i := range msgs {
		t.u32(msgs[i].UID)
		t.buf = append(t.buf, msgs[i].GUID[:]...)
	}
	t.end(start)
}

// ModSeq raises the modseq of a message, or of the mailbox if uid is 0.
func (t *Tx) ModSeq(uid uint32, modseq uint64) {
	start := t.begin(recModSeq | typeExternal)
	t.u32(uid)
	t.u32(uint32(modseq))
	t.u32(uint32(modseq >> 32))
	t.end(start)
}

// Header overwrites bytes of the base header.
func (t *Tx) Header(off int, data []byte) {
	start := t.begin(recHeaderUpdate | typeExternal)
	t.u16(uint16(off))
	t.u16(uint16(len(data)))
	t.buf = append(t.buf, data...)
	t.end(start)
}

// HeaderU32 overwrites one field of the base header.
func (t *Tx) HeaderU32(off int, v uint32) {
	t.Header(off, binary.LittleEndian.AppendUint32(nil, v))
}

// FirstRecent records that messages below uid are no longer recent.
func (t *Tx) FirstRecent(uid uint32) { t.HeaderU32(offFirstRecent, uid) }

// TempScan records when stale temporary files were looked for.
func (t *Tx) TempScan(unix uint32) { t.HeaderU32(offTempScan, unix) }

// UIDValidity records it.
func (t *Tx) UIDValidity(v uint32) { t.HeaderU32(offUIDValidity, v) }

// NextUID raises the next uid.
func (t *Tx) NextUID(v uint32) { t.HeaderU32(offNextUID, v) }

// ClearFsckd records that the mail files were compared with the index.
func (t *Tx) ClearFsckd(h *Header) { t.HeaderU32(offFlags, h.u32(offFlags)&^flagFsckd) }

// Day notes the first message of a local day, which begins at midnight.
func (t *Tx) Day(h *Header, midnight, uid uint32) {
	if data, ok := h.dayUpdate(midnight, uid); ok {
		t.Header(offDayStamp, data[:])
	}
}

// Deleted records that the mailbox itself is gone.
func (t *Tx) Deleted() {
	start := t.begin(recIndexDeleted | typeExternal)
	t.u32(0)
	t.end(start)
}

// An ExtDef declares an extension.
type ExtDef struct {
	Name        string
	HdrSize     uint32
	RecordSize  uint16
	RecordAlign uint16
	ResetID     uint32
}

// KeepModSeq makes the index keep the modseq of each message. The header data
// matters: Dovecot 2.3 crashes when it replays an append after an intro without.
func (t *Tx) KeepModSeq(highest uint64) {
	t.Intro(&modSeqExt)
	t.ExtHeader(0, binary.LittleEndian.AppendUint64(make([]byte, 0, 16), max(highest, 1))[:16])
}

var modSeqExt = ExtDef{Name: extModSeq, HdrSize: 16, RecordSize: 8, RecordAlign: 8}

// Intro names the extension that the next extension records are about, and
// makes it if there is none. Extensions are always named, never numbered: the
// numbering depends on every log record since the index was made.
func (t *Tx) Intro(d *ExtDef) {
	start := t.begin(recExtIntro | typeExternal)
	t.u32(extByName)
	t.u32(d.ResetID)
	t.u32(d.HdrSize)
	t.u16(d.RecordSize)
	t.u16(d.RecordAlign)
	t.u16(extNoShrink)
	t.u16(uint16(len(d.Name)))
	t.buf = append(t.buf, d.Name...)
	t.end(start)
}

// ExtHeader overwrites header data of the extension introduced last.
func (t *Tx) ExtHeader(off int, data []byte) {
	start := t.begin(recExtHdrUpdate | typeExternal)
	t.u16(uint16(off))
	t.u16(uint16(len(data)))
	t.buf = append(t.buf, data...)
	t.end(start)
}

// ExtU32 is a value of a 4-byte extension record.
type ExtU32 struct{ UID, Value uint32 }

// ExtRecords32 sets 4-byte records of the extension introduced last.
func (t *Tx) ExtRecords32(values []ExtU32) {
	start := t.begin(recExtRecUpdate | typeExternal)
	t.buf = slices.Grow(t.buf, 8*len(values))
	for _, v := range values {
		t.u32(v.UID)
		t.u32(v.Value)
	}
	t.end(start)
}

const (
	extByName   = 0xffffffff
	extNoShrink = 1
)
