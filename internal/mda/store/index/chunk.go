package index

import (
	"encoding/binary"
	"sort"
)

const (
	// chunkLen is the number of messages in a full chunk. A flag change copies
	// one chunk, every change copies one pointer per chunk.
	chunkLen = 1024
	// recordBase is what a message takes before extension data.
	recordBase = 5
	flagMask   = 0x1f
)

// A layout says where extension data lies in the messages of a chunk. Chunks
// are converted to a newer layout only when they are changed.
type layout struct {
	size   int   // of a message
	off    []int // by extension number
	width  []int // by extension number; 0 for extensions without record
	modseq int   // where the modseq lies; 0 if nowhere
	stored bool  // the modseq is that of the extension
}

// A chunk is a run of messages. It is immutable except for the State that owns
// it, while that is being made.
type chunk struct {
	lay   *layout
	data  []byte
	owner *State // may replace data
	deep  *State // may change the bytes of data
}

func (c *chunk) len() int         { return len(c.data) / c.lay.size }
func (c *chunk) rec(i int) []byte { return c.data[i*c.lay.size : (i+1)*c.lay.size : (i+1)*c.lay.size] }
func (c *chunk) uid(i int) uint32 { return binary.LittleEndian.Uint32(c.data[i*c.lay.size:]) }
func (c *chunk) flags(i int) byte { return c.data[i*c.lay.size+4] }
func (c *chunk) lastUID() uint32  { return c.uid(c.len() - 1) }
func (c *chunk) search(uid uint32) int {
	return sort.Search(c.len(), func(i int) bool { return c.uid(i) >= uid })
}

// ext returns the data of extension e of message i; nil if the chunk is older
// than the extension.
func (c *chunk) ext(i, e int) []byte {
	if e < 0 || e >= len(c.lay.off) || c.lay.width[e] == 0 {
		return nil
	}
	at := i*c.lay.size + c.lay.off[e]
	return c.data[at : at+c.lay.width[e]]
}

// memoryLayout returns the layout for messages in memory. It always has room for
// a modseq: an index without the modseq extension does not store them, but as
// long as it is open changes can be told apart by them.
func memoryLayout(exts []Ext) *layout {
	l := packed(exts)
	if l.modseq == 0 {
		l.modseq = pad(l.size, 8)
		l.size = l.modseq + 8
	}
	return l
}

// packed returns the layout for the extensions as Dovecot packs them: from
// offset 5 on, always the extension with the largest alignment that fits there.
func packed(exts []Ext) *layout {
	l := &layout{off: make([]int, len(exts)), width: make([]int, len(exts))}
	placed := make([]bool, len(exts))
	at, maxAlign := recordBase, 4
	for {
		best, smallest := -1, 0
		for i := range exts {
			e := &exts[i]
			if e.RecordSize == 0 || placed[i] {
				continue
			}
			align := max(int(e.RecordAlign), 1)
			if at%align == 0 && (best < 0 || align > max(int(exts[best].RecordAlign), 1)) {
				best = i
			}
			if smallest == 0 || align < smallest {
				smallest = align
			}
		}
		if smallest == 0 {
			break
		}
		if best < 0 {
			at += smallest - at%smallest
			continue
		}
		placed[best] = true
		l.off[best], l.width[best] = at, int(exts[best].RecordSize)
		at += int(exts[best].RecordSize)
		maxAlign = max(maxAlign, int(exts[best].RecordAlign))
	}
	l.size = pad(at, maxAlign)
	l.findModSeq(exts)
	return l
}

// findModSeq notes where the modseq extension lies.
func (l *layout) findModSeq(exts []Ext) {
	for i := range exts {
		if exts[i].Name == extModSeq && l.width[i] >= 8 {
			l.modseq, l.stored = l.off[i], true
		}
	}
}

// modSeq returns the modseq of message i; nil if the chunk has none.
func (c *chunk) modSeq(i int) []byte {
	if c.lay.modseq == 0 {
		return nil
	}
	at := i*c.lay.size + c.lay.modseq
	return c.data[at : at+8]
}

// appendConverted appends the messages of c in the layout to.
func (c *chunk) appendConverted(b []byte, to *layout) []byte {
	if c.lay == to {
		return append(b, c.data...)
	}
	zero := make([]byte, to.size)
	for i := range c.len() {
		at := len(b)
		b = append(b, zero...)
		rec := b[at:]
		copy(rec[:recordBase], c.rec(i))
		for e := range to.off {
			if to.width[e] > 0 {
				copy(rec[to.off[e]:to.off[e]+to.width[e]], c.ext(i, e))
			}
		}
		if to.modseq > 0 && to.stored == c.lay.stored {
			copy(rec[to.modseq:to.modseq+8], c.modSeq(i))
		}
	}
	return b
}
