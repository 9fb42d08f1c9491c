package index

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// maxIndexSize bounds what is read of a dovecot.index, 16 million messages with
// a good deal of extension data.
const maxIndexSize = 1 << 30

// A decoder reads dovecot.index. It is lenient when asked to salvage: then it
// leaves out what is wrong instead of failing.
type decoder struct {
	salvage bool
	light   bool
	wrong   error // salvage: the first thing left out
	lay     *layout
}

// fail reports damage; a salvaging decoder notes it and goes on.
func (d *decoder) fail(format string, args ...any) error {
	err := damaged("dovecot.index: "+format, args...)
	if !d.salvage {
		return err
	}
	if d.wrong == nil {
		d.wrong = err
	}
	return nil
}

// header decodes base header and extension headers. b holds at least these.
func (d *decoder) header(b []byte) (*State, error) {
	if len(b) < headerSize {
		return nil, damaged("dovecot.index: %d bytes", len(b))
	}
	var h Header
	copy(h[:], b)
	baseSize := int(binary.LittleEndian.Uint16(h[offBaseSize:]))
	if h[0] != indexMajor || h[offCompat] != compatLittle || baseSize < headerSize || h.IndexID() == 0 {
		return nil, damaged("dovecot.index: version %d, flags %#x, header size %d", h[0], h[offCompat], baseSize)
	}
	size, recSize := int(h.u32(offHeaderSize)), int(h.u32(offRecordSize))
	if size < baseSize || size > len(b) || recSize < minRecordSize || recSize > maxRecordSize {
		return nil, damaged("dovecot.index: header size %d, record size %d", size, recSize)
	}
	if h.NextUID() == 0 || h.FirstRecent() == 0 || h.FirstRecent() > h.NextUID() ||
		h.Seen() > h.u32(offMessages) || h.Deleted() > h.u32(offMessages) ||
		h.u32(offUnseenLow) > h.NextUID() || h.u32(offDeletedLow) > h.NextUID() {
		if err := d.fail("counters contradict each other"); err != nil {
			return nil, err
		}
		h.setU32(offNextUID, max(h.NextUID(), 1))
		h.setU32(offFirstRecent, min(max(h.FirstRecent(), 1), h.NextUID()))
		h.setU32(offUnseenLow, 0)
		h.setU32(offDeletedLow, 0)
	}
	if h.u32(offLogTail) > h.u32(offLogHead) {
		if err := d.fail("tail %d of the log is behind its head %d", h.u32(offLogTail), h.u32(offLogHead)); err != nil {
			return nil, err
		}
		h.setU32(offLogTail, h.u32(offLogHead))
	}
	s := newState(h, d.light)
	s.logSeq, s.logOff = h.u32(offLogSeq), h.u32(offLogHead)
	d.lay = &layout{size: recSize}
	if err := d.extensions(s, d.lay, b[:size], pad(baseSize, 8)); err != nil {
		return nil, err
	}
	d.lay.findModSeq(s.Exts)
	s.extsChanged()
	if d.lay.modseq != 0 {
		s.lay = d.lay // else chunks are converted when they change
	}
	return s, nil
}

func (d *decoder) extensions(s *State, lay *layout, b []byte, at int) error {
	for at+16 <= len(b) {
		hdrSize, recOff := binary.LittleEndian.Uint32(b[at:]), int(binary.LittleEndian.Uint16(b[at+8:]))
		e := Ext{
			ResetID:     binary.LittleEndian.Uint32(b[at+4:]),
			RecordSize:  binary.LittleEndian.Uint16(b[at+10:]),
			RecordAlign: binary.LittleEndian.Uint16(b[at+12:]),
		}
		nameSize := int(binary.LittleEndian.Uint16(b[at+14:]))
		data := at + pad(16+nameSize, 8)
		if data > len(b) || uint64(data)+uint64(hdrSize) > uint64(len(b)) {
			return d.fail("extension header at %d is cut", at)
		}
		e.Name = string(b[at+16 : at+16+nameSize])
		e.Header = slices.Clone(b[data : data+int(hdrSize)])
		at = data + pad(int(hdrSize), 8)
		end := recOff + int(e.RecordSize)
		if !validName(e.Name) || s.ExtNumber(e.Name) >= 0 || len(s.Exts) >= maxExts ||
			(e.RecordSize > 0 && (recOff < recordBase || end > lay.size || e.RecordAlign == 0 || recOff%int(e.RecordAlign) != 0)) {
			if err := d.fail("extension header %q", e.Name); err != nil {
				return err
			}
			continue
		}
		if e.ResetID != 0 && neverReset[e.Name] {
			if err := d.fail("extension %q has reset id %d", e.Name, e.ResetID); err != nil {
				return err
			}
			e.ResetID = 0
		}
		s.Exts = append(s.Exts, e)
		lay.off = append(lay.off, recOff)
		lay.width = append(lay.width, int(e.RecordSize))
		if err := d.interpret(s, &s.Exts[len(s.Exts)-1]); err != nil {
			return err
		}
	}
	return nil
}

// neverReset are the extensions that nobody ever gives another reset id: with one, every change of
// them would be void.
var neverReset = map[string]bool{
	extKeywords: true, extModSeq: true, "dbox-hdr": true, "mdbox-hdr": true, "mdbox": true, "guid": true, "map": true, "ref": true,
	"maildir": true, "mbox": true, "header-md5": true, "vsize": true, "hdr-vsize": true, "hdr-pop3-uidl": true, "last-rename-stamp": true,
}

// interpret takes over the header data of an extension that this package knows.
func (d *decoder) interpret(s *State, e *Ext) error {
	switch e.Name {
	case extKeywords:
		names, ok := decodeKeywords(e.Header)
		if !ok || int(e.RecordSize)*8 < len(names) {
			if err := d.fail("keywords header"); err != nil {
				return err
			}
			names = names[:min(len(names), int(e.RecordSize)*8)]
		}
		s.Keywords = names
	case extModSeq:
		if len(e.Header) >= 16 {
			s.modseqZero = max(binary.LittleEndian.Uint64(e.Header), 1)
		}
	}
	return nil
}

func decodeKeywords(b []byte) (names []string, ok bool) {
	if len(b) == 0 {
		return nil, true
	}
	if len(b) < 4 {
		return nil, false
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n > maxKeywords || 4+8*n > len(b) {
		return nil, false
	}
	text := b[4+8*n:]
	for i := range n {
		off := binary.LittleEndian.Uint32(b[4+8*i+4:])
		if uint64(off) >= uint64(len(text)) {
			return names, false
		}
		end := bytes.IndexByte(text[off:], 0)
		if end <= 0 {
			return names, false
		}
		names = append(names, string(text[off:int(off)+end]))
	}
	return names, true
}

// messages decodes the records in b, which become part of the state.
func (d *decoder) messages(s *State, b []byte) error {
	count := int(s.Hdr.u32(offMessages))
	size := d.lay.size
	if len(b) < count*size {
		if err := d.fail("%d messages, but only room for %d", count, len(b)/size); err != nil {
			return err
		}
		count = len(b) / size
	}
	b = b[: count*size : count*size]
	if at := outOfOrder(b, size, s.Hdr.NextUID()); at >= 0 {
		if err := d.fail("uid out of order in record %d", at); err != nil {
			return err
		}
		b = dropOutOfOrder(b, size)
	}
	for at := 0; at < len(b); at += chunkLen * size {
		end := min(at+chunkLen*size, len(b))
		s.chunks = append(s.chunks, &chunk{lay: d.lay, data: b[at:end:end]})
		s.starts = append(s.starts, at/size)
	}
	s.n = len(b) / size
	if d.salvage {
		s.recount()
	}
	return nil
}

// outOfOrder returns the number of the first record whose uid is not above the
// one before and below next; -1 for none.
func outOfOrder(b []byte, size int, next uint32) int {
	last := uint32(0)
	for at := 0; at < len(b); at += size {
		uid := binary.LittleEndian.Uint32(b[at:])
		if uid <= last || uid >= next {
			return at / size
		}
		last = uid
	}
	return -1
}

func dropOutOfOrder(b []byte, size int) []byte {
	var kept []byte
	last := uint32(0)
	for at := 0; at < len(b); at += size {
		if uid := binary.LittleEndian.Uint32(b[at:]); uid > last && uid < maxUID {
			kept, last = append(kept, b[at:at+size]...), uid
		}
	}
	return kept[:len(kept):len(kept)]
}

// recount computes the header's counters anew.
func (s *State) recount() {
	s.Hdr.setU32(offSeen, 0)
	s.Hdr.setU32(offDeleted, 0)
	s.Hdr.setU32(offUnseenLow, 0)
	s.Hdr.setU32(offDeletedLow, 0)
	for _, c := range s.chunks {
		for i := range c.len() {
			s.count(c.flags(i), 1)
		}
		s.Hdr.setU32(offNextUID, max(s.Hdr.NextUID(), c.lastUID()+1))
	}
}

// decode reads a whole dovecot.index.
func (d *decoder) decode(b []byte) (*State, error) {
	s, err := d.header(b)
	if err != nil || d.light {
		return s, err
	}
	if err := d.messages(s, b[s.Hdr.u32(offHeaderSize):]); err != nil {
		return nil, err
	}
	return s, nil
}
