package index

import (
	"encoding/binary"
	"slices"
)

// Limits on what a log may make of an index, far above what Dovecot writes.
const (
	maxKeywords   = 16384
	maxExts       = 256
	maxExtHdr     = 16 << 20
	maxRecordSize = 32768
)

// apply changes s, which nobody else sees yet, as the record says.
func (s *State) apply(r *record, minor byte) error {
	if r.countsModSeq(minor) {
		s.modseq++
	}
	s.noteUnsynced(r)
	switch r.typ {
	case recAppend:
		return s.applyAppend(r.payload)
	case recFlagUpdate:
		return s.applyFlags(r.payload)
	case recExpunge:
		return s.applyExpunge(r, 8)
	case recExpungeGUID:
		return s.applyExpunge(r, 20)
	case recHeaderUpdate:
		return s.applyHeader(r.payload)
	case recExtIntro:
		return s.applyIntro(r.payload)
	case recExtReset:
		return s.applyReset(r.payload)
	case recExtHdrUpdate, recExtHdr32:
		return s.applyExtHeader(r)
	case recExtRecUpdate:
		return s.applyExtRecords(r.payload)
	case recAtomicInc:
		return s.applyAtomicInc(r.payload)
	case recKeywords:
		return s.applyKeywords(r.payload)
	case recKeywordReset:
		return s.applyKeywordReset(r.payload)
	case recModSeq:
		return s.applyModSeq(r.payload)
	case recIndexDeleted:
		s.deleted = true
	case recUndeleted:
		s.deleted = false
	case recBoundary, recAttribute:
	default:
		return damaged("log record of unknown type %#x", r.typ)
	}
	return nil
}

// own returns chunk k so that its bytes may be changed.
func (s *State) own(k int) *chunk {
	c := s.chunks[k]
	if c.deep == s && c.lay == s.lay {
		return c
	}
	s.ownPointers()
	data := make([]byte, 0, s.lay.size*max(c.len(), min(chunkLen, c.len()+c.len()/8+16)))
	c = &chunk{lay: s.lay, data: c.appendConverted(data, s.lay), owner: s, deep: s}
	s.chunks[k] = c
	return c
}

func (s *State) ownPointers() {
	if !s.ownChunks {
		s.chunks = append(make([]*chunk, 0, len(s.chunks)+1), s.chunks...)
		s.ownChunks = true
	}
}

// tail returns the last chunk so that a message may be appended to it. The
// bytes before may still be shared: older states do not see beyond their end.
func (s *State) tail() *chunk {
	s.ownPointers()
	k := len(s.chunks) - 1
	if k < 0 || s.chunks[k].len() >= chunkLen {
		c := &chunk{lay: s.lay, owner: s, deep: s}
		s.chunks = append(s.chunks, c)
		s.starts = append(s.starts[:len(s.starts):len(s.starts)], s.n)
		return c
	}
	c := s.chunks[k]
	if c.lay != s.lay {
		return s.own(k)
	}
	if c.owner != s {
		c = &chunk{lay: c.lay, data: c.data, owner: s}
		s.chunks[k] = c
	}
	return c
}

func (s *State) applyAppend(p []byte) error {
	if len(p)%8 != 0 {
		return damaged("append record of %d bytes", len(p))
	}
	for ; len(p) > 0; p = p[8:] {
		uid, flags := binary.LittleEndian.Uint32(p), p[4]
		if uid < s.Hdr.NextUID() || uid == maxUID {
			return damaged("appended uid %d, next is %d", uid, s.Hdr.NextUID())
		}
		s.Hdr.setU32(offNextUID, uid+1)
		s.noteDirty(flags)
		if s.light {
			continue
		}
		c := s.tail()
		n := len(c.data)
		if cap(c.data) < n+s.lay.size {
			grown := make([]byte, n, max(min(2*n, chunkLen*s.lay.size), n+16*s.lay.size))
			copy(grown, c.data)
			c.data, c.deep = grown, s
		}
		c.data = c.data[:n+s.lay.size]
		rec := c.data[n:]
		clear(rec)
		binary.LittleEndian.PutUint32(rec, uid)
		rec[4] = flags
		s.n++
		s.setModSeq(c, c.len()-1)
		s.count(flags, 1)
		s.lowwater(uid, flags)
	}
	return nil
}

func (s *State) setModSeq(c *chunk, at int) {
	if d := c.modSeq(at); d != nil {
		binary.LittleEndian.PutUint64(d, s.modseq)
	}
}

// count keeps the header's counters for one message more or less.
func (s *State) count(flags byte, d int) {
	if flags&flagSeen != 0 {
		s.Hdr.setU32(offSeen, s.Hdr.Seen()+uint32(d))
	}
	if flags&flagDeleted != 0 {
		s.Hdr.setU32(offDeleted, s.Hdr.Deleted()+uint32(d))
	}
}

// lowwater lowers the marks for a message with these flags.
func (s *State) lowwater(uid uint32, flags byte) {
	if flags&flagSeen == 0 && uid < s.Hdr.u32(offUnseenLow) {
		s.Hdr.setU32(offUnseenLow, uid)
	}
	if flags&flagDeleted != 0 && uid < s.Hdr.u32(offDeletedLow) {
		s.Hdr.setU32(offDeletedLow, uid)
	}
}

// raiseLowwater moves the marks to the end when no such message is left.
func (s *State) raiseLowwater() {
	if s.light {
		return
	}
	if int(s.Hdr.Seen()) == s.n {
		s.Hdr.setU32(offUnseenLow, s.Hdr.NextUID())
	}
	if s.Hdr.Deleted() == 0 {
		s.Hdr.setU32(offDeletedLow, s.Hdr.NextUID())
	}
}

// each calls fn for every message in the uid range, on chunks that may be
// changed.
func (s *State) each(first, last uint32, fn func(c *chunk, at int)) {
	if s.light {
		return
	}
	for k, at := s.find(first); k < len(s.chunks); k, at = k+1, 0 {
		if s.chunks[k].uid(at) > last {
			return
		}
		c := s.own(k)
		for n := c.len(); at < n && c.uid(at) <= last; at++ {
			fn(c, at)
		}
	}
}

func rangeOf(p []byte) (first, last uint32, err error) {
	first, last = binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
	if first == 0 || first > last {
		return 0, 0, damaged("log record with uid range %d:%d", first, last)
	}
	return first, last, nil
}

func (s *State) applyFlags(p []byte) error {
	if len(p)%12 != 0 {
		return damaged("flag record of %d bytes", len(p))
	}
	visible := flagsCount(p)
	for ; len(p) > 0; p = p[12:] {
		first, last, err := rangeOf(p)
		if err != nil {
			return err
		}
		add, remove := p[8], p[9]
		s.noteDirty(add)
		s.each(first, last, func(c *chunk, at int) {
			rec := c.rec(at)
			old := rec[4]
			rec[4] = old&^remove | add
			if visible {
				s.setModSeq(c, at)
			}
			s.count(old, -1)
			s.count(rec[4], 1)
			s.lowwater(c.uid(at), rec[4])
		})
	}
	s.raiseLowwater()
	return nil
}

func (s *State) applyHeader(p []byte) error {
	tail, end := s.Hdr.u32(offLogTail), s.logOff+recHeaderSize+uint32(len(p))
	for len(p) >= 4 {
		off, size := int(binary.LittleEndian.Uint16(p)), int(binary.LittleEndian.Uint16(p[2:]))
		if 4+size > len(p) || !s.Hdr.update(off, p[4:4+size]) {
			return damaged("header update of %d bytes at %d", size, off)
		}
		p = p[min(4+pad(size, 4), len(p)):]
	}
	if s.Hdr.u32(offLogTail) > end {
		s.Hdr.setU32(offLogTail, tail) // nothing behind this record can have been carried out
	}
	s.tailMoved()
	return nil
}

// pad rounds n up to a multiple of align.
func pad(n, align int) int { return (n + align - 1) / align * align }

func (s *State) applyExpunge(r *record, size int) error {
	p := r.payload
	if len(p)%size != 0 {
		return damaged("expunge record of %d bytes", len(p))
	}
	var uids []uint32
	for ; len(p) > 0; p = p[size:] {
		first := binary.LittleEndian.Uint32(p)
		last := first
		if size == 8 {
			var err error
			if first, last, err = rangeOf(p); err != nil {
				return err
			}
		}
		uids = s.appendExisting(uids, first, last)
	}
	if !r.external {
		s.requests = append(s.requests[:len(s.requests):len(s.requests)], uids...)
		return nil
	}
	if len(s.requests) > 0 {
		s.requests = slices.DeleteFunc(slices.Clone(s.requests), func(uid uint32) bool {
			return slices.Contains(uids, uid)
		})
	}
	slices.Sort(uids)
	s.remove(uids)
	return nil
}

// appendExisting appends the uids in the range that have a message; for a
// light state, which does not know, those of short ranges.
func (s *State) appendExisting(uids []uint32, first, last uint32) []uint32 {
	if s.light {
		for n := 0; n < chunkLen && first <= last && first != 0; n, first = n+1, first+1 {
			uids = append(uids, first)
		}
		return uids
	}
	for k, at := s.find(first); k < len(s.chunks); k, at = k+1, 0 {
		c := s.chunks[k]
		for ; at < c.len(); at++ {
			uid := c.uid(at)
			if uid > last {
				return uids
			}
			uids = append(uids, uid)
		}
	}
	return uids
}

// remove drops messages. Chunks that lose some are rewritten, neighbors that
// together fit into one are joined.
func (s *State) remove(uids []uint32) {
	if s.light || len(uids) == 0 {
		return
	}
	s.ownPointers()
	kept := s.chunks[:0:len(s.chunks)]
	for _, c := range s.chunks {
		j := 0
		for j < len(uids) && uids[j] < c.uid(0) {
			j++
		}
		uids = uids[j:]
		if len(uids) > 0 && uids[0] <= c.lastUID() {
			c = s.without(c, uids)
		}
		if c.len() == 0 {
			continue
		}
		if n := len(kept); n > 0 && kept[n-1].len()+c.len() <= chunkLen/2 {
			data := make([]byte, 0, (kept[n-1].len()+c.len())*s.lay.size)
			data = kept[n-1].appendConverted(data, s.lay)
			kept[n-1] = &chunk{lay: s.lay, data: c.appendConverted(data, s.lay), owner: s, deep: s}
			continue
		}
		kept = append(kept, c)
	}
	clear(s.chunks[len(kept):])
	s.chunks = kept
	s.starts, s.n = make([]int, len(kept)), 0
	for k, c := range kept {
		s.starts[k] = s.n
		s.n += c.len()
	}
	s.raiseLowwater()
}

func (s *State) without(c *chunk, uids []uint32) *chunk {
	data := make([]byte, 0, len(c.data))
	for i := range c.len() {
		uid := c.uid(i)
		for len(uids) > 0 && uids[0] < uid {
			uids = uids[1:]
		}
		if len(uids) > 0 && uids[0] == uid {
			s.count(c.flags(i), -1)
			continue
		}
		data = append(data, c.rec(i)...)
	}
	return &chunk{lay: c.lay, data: data, owner: s, deep: s}
}

func (s *State) applyModSeq(p []byte) error {
	if len(p)%12 != 0 {
		return damaged("modseq record of %d bytes", len(p))
	}
	for ; len(p) > 0; p = p[12:] {
		uid, modseq := binary.LittleEndian.Uint32(p), modSeqOf(p)
		s.modseq = max(s.modseq, modseq)
		if uid == 0 {
			continue
		}
		s.each(uid, uid, func(c *chunk, at int) {
			if d := c.modSeq(at); d != nil && binary.LittleEndian.Uint64(d) < modseq {
				binary.LittleEndian.PutUint64(d, modseq)
			}
		})
	}
	return nil
}
