package index

import "encoding/binary"

const (
	headerSize    = 120
	indexMajor    = 7
	indexMinor    = 3
	compatLittle  = 0x01
	minRecordSize = 8

	flagFsckd = 0x4
)

// Offsets in the header.
const (
	offMinor         = 1
	offBaseSize      = 2
	offHeaderSize    = 4
	offRecordSize    = 8
	offCompat        = 12
	offIndexID       = 16
	offFlags         = 20
	offUIDValidity   = 24
	offNextUID       = 28
	offMessages      = 32
	offSeen          = 40
	offDeleted       = 44
	offFirstRecent   = 48
	offUnseenLow     = 52
	offDeletedLow    = 56
	offLogSeq        = 60
	offLogTail       = 64
	offLogHead       = 68
	offLog2Rotate    = 76
	offTempScan      = 80
	offDayStamp      = 84
	offDayFirstUID   = 88
	dayFirstUIDCount = 8
)

// A Header is the base header of dovecot.index, as it is in the file: updates
// in the log address it by offset.
type Header [headerSize]byte

func (h *Header) u32(off int) uint32       { return binary.LittleEndian.Uint32(h[off:]) }
func (h *Header) setU32(off int, v uint32) { binary.LittleEndian.PutUint32(h[off:], v) }

// IndexID is the creation time of the index; index and logs share it.
func (h *Header) IndexID() uint32 { return h.u32(offIndexID) }

// UIDValidity is 0 in an index that was not given one yet.
func (h *Header) UIDValidity() uint32 { return h.u32(offUIDValidity) }

// NextUID is the uid that the next message gets at least.
func (h *Header) NextUID() uint32 { return h.u32(offNextUID) }

// Seen and Deleted count the messages with these flags.
func (h *Header) Seen() uint32    { return h.u32(offSeen) }
func (h *Header) Deleted() uint32 { return h.u32(offDeleted) }

// FirstRecent is the lowest uid that no session has claimed as recent.
func (h *Header) FirstRecent() uint32 { return h.u32(offFirstRecent) }

// UnseenLowwater is a uid below which all messages are seen.
func (h *Header) UnseenLowwater() uint32 { return h.u32(offUnseenLow) }

// TempScan is when stale temporary files were last looked for.
func (h *Header) TempScan() uint32 { return h.u32(offTempScan) }

// Fsckd tells that Dovecot repaired the index and wants the mail files compared
// with it.
func (h *Header) Fsckd() bool { return h.u32(offFlags)&flagFsckd != 0 }

// newHeader returns the state of an index to which nothing happened yet.
func newHeader(indexID uint32) (h Header) {
	h[0], h[offMinor] = indexMajor, indexMinor
	binary.LittleEndian.PutUint16(h[offBaseSize:], headerSize)
	h.setU32(offHeaderSize, headerSize)
	h.setU32(offRecordSize, minRecordSize)
	h[offCompat] = compatLittle
	h.setU32(offIndexID, indexID)
	h.setU32(offNextUID, 1)
	h.setU32(offFirstRecent, 1)
	return h
}

// update applies a HEADER_UPDATE. Some fields only grow, and the position in
// the log is the reader's own.
func (h *Header) update(off int, data []byte) bool {
	if off+len(data) > headerSize {
		return false
	}
	old := *h
	copy(h[off:], data)
	if h.NextUID() < old.NextUID() {
		h.setU32(offNextUID, old.NextUID())
	}
	if h.u32(offLogTail) < old.u32(offLogTail) {
		h.setU32(offLogTail, old.u32(offLogTail))
	}
	copy(h[:offIndexID+4], old[:offIndexID+4])
	h.setU32(offMessages, old.u32(offMessages))
	h.setU32(offLogSeq, old.u32(offLogSeq))
	h.setU32(offLogHead, old.u32(offLogHead))
	return true
}

// dayUpdate returns the day_stamp and day_first_uid fields for a message with
// the uid that arrives on the day beginning at midnight, or false if the day is
// already noted.
func (h *Header) dayUpdate(midnight, uid uint32) (data [4 + 4*dayFirstUIDCount]byte, ok bool) {
	old := h.u32(offDayStamp)
	if old >= midnight {
		return data, false
	}
	days := min(int((midnight-old)/(24*3600)), dayFirstUIDCount)
	days = max(days, 1)
	binary.LittleEndian.PutUint32(data[0:], midnight)
	binary.LittleEndian.PutUint32(data[4:], uid)
	for i := 1; i < dayFirstUIDCount; i++ {
		from := max(i-days, 0)
		binary.LittleEndian.PutUint32(data[4+4*i:], h.u32(offDayFirstUID+4*from))
	}
	return data, true
}
