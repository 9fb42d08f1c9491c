package index

import (
	"encoding/binary"
	"slices"
)

// ExtRecords sets the records of the extension introduced last: size bytes of
// data for each of the uids, one after the other.
func (t *Tx) ExtRecords(uids []uint32, size int, data []byte) {
	start := t.begin(recExtRecUpdate | typeExternal)
	t.buf = slices.Grow(t.buf, len(uids)*(4+pad(size, 4)))
	for i, uid := range uids {
		t.u32(uid)
		t.buf = append(t.buf, data[i*size:(i+1)*size]...)
		for n := size; n%4 != 0; n++ {
			t.buf = append(t.buf, 0)
		}
	}
	t.end(start)
}

// ExtAdd adds diff to the records of the extension introduced last, which are
// numbers that must not leave their range.
func (t *Tx) ExtAdd(uids []uint32, diff int32) {
	start := t.begin(recAtomicInc | typeExternal)
	for _, uid := range uids {
		t.u32(uid)
		t.u32(uint32(diff))
	}
	t.end(start)
}

// withTail returns what is written to a log of which off bytes are there: the
// transaction, and as part of the group, so that nobody sees one without the other,
// that the tail is at its end.
func (t *Tx) withTail(off uint32) []byte {
	t.HeaderU32(offLogTail, 0)
	b := t.bytes()
	binary.LittleEndian.PutUint32(b[len(b)-4:], off+uint32(len(b)))
	return b
}

// TailBehind reports whether the log's tail is not at its end: whoever wrote
// last was killed before it was done.
func (x *Index) TailBehind() bool {
	h := &x.st.Hdr
	tail := h.u32(offLogTail)
	if tail == x.st.logOff {
		return false
	}
	// A new log has no tail yet.
	return tail != 0 || x.st.logOff > uint32(x.log.size)
}

// CommitOpen is [Index.Commit] for one that keeps the log's tail at its end, but
// without moving the tail: as long as no other commit follows, whoever takes the
// lock sees that something was not finished.
func (x *Index) CommitOpen(tx *Tx) error {
	x.opt.Tail = false
	defer func() { x.opt.Tail = true }()
	return x.Commit(tx)
}

// Abandon gives the lock back and leaves everything as it is.
func (x *Index) Abandon() {
	if x.locked {
		x.release()
	}
}
