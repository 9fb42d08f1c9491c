package index

import (
	"encoding/binary"
	"strings"
)

// validName tells whether an extension may be called this.
func validName(name string) bool {
	if name == "" || len(name) > 63 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == ' ':
		default:
			return false
		}
	}
	return true
}

func (s *State) addExt(e Ext) int {
	s.unshare()
	s.Exts = append(s.Exts, e)
	s.extsChanged()
	return len(s.Exts) - 1
}

func (s *State) applyIntro(p []byte) error {
	s.curExt = -1 // what follows an intro that is damaged is about no extension
	if len(p) < 20 {
		return damaged("extension intro of %d bytes", len(p))
	}
	id, reset := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
	hdrSize := binary.LittleEndian.Uint32(p[8:])
	size, align := binary.LittleEndian.Uint16(p[12:]), binary.LittleEndian.Uint16(p[14:])
	flags, nameSize := binary.LittleEndian.Uint16(p[16:]), int(binary.LittleEndian.Uint16(p[18:]))
	if nameSize > len(p)-20 || hdrSize > maxExtHdr || size > maxRecordSize || align > 8 || align&(align-1) != 0 || (size > 0 && align == 0) {
		return damaged("extension intro with sizes %d, %d, %d", hdrSize, size, align)
	}
	n := int(id)
	if id == extByName {
		name := string(p[20 : 20+nameSize])
		if !validName(name) || len(s.Exts) >= maxExts || reset != 0 && neverReset[name] {
			return damaged("extension intro with name %q and reset id %d", name, reset)
		}
		if n = s.ExtNumber(name); n < 0 {
			n = s.addExt(Ext{Name: name, ResetID: reset, Header: make([]byte, hdrSize), RecordSize: size, RecordAlign: align})
			if name == extModSeq {
				s.modseqZero = s.modseq
				s.modSeqStart = modSeqStart{introduced: true}
			}
		}
	}
	if n < 0 || n >= len(s.Exts) {
		return damaged("extension number %d of %d", n, len(s.Exts))
	}
	s.curExt, s.curSize = n, int(size)
	s.curVoid = s.Exts[n].ResetID != reset
	if !s.curVoid {
		s.resize(n, hdrSize, size, align, flags&extNoShrink != 0)
	}
	return nil
}

// resize gives extension n the sizes of an intro. Record data never shrinks:
// that only wastes space.
func (s *State) resize(n int, hdrSize uint32, size, align uint16, noShrink bool) {
	e := &s.Exts[n]
	if int(hdrSize) > len(e.Header) || (int(hdrSize) < len(e.Header) && !noShrink) {
		h := make([]byte, hdrSize)
		copy(h, e.Header)
		s.unshare()
		s.Exts[n].Header = h
	}
	if size > e.RecordSize || align > e.RecordAlign {
		s.unshare()
		s.Exts[n].RecordSize = max(size, s.Exts[n].RecordSize)
		s.Exts[n].RecordAlign = max(align, s.Exts[n].RecordAlign)
		s.extsChanged()
	}
}

func (s *State) current() (*Ext, error) {
	if s.curExt < 0 {
		return nil, damaged("extension record without intro")
	}
	return &s.Exts[s.curExt], nil
}

func (s *State) applyReset(p []byte) error {
	if _, err := s.current(); err != nil {
		return err
	}
	if len(p) < 4 {
		return damaged("extension reset of %d bytes", len(p))
	}
	if e := &s.Exts[s.curExt]; neverReset[e.Name] {
		return damaged("reset of extension %q", e.Name)
	}
	preserve := len(p) >= 5 && p[4] != 0
	s.unshare()
	e := &s.Exts[s.curExt]
	e.ResetID = binary.LittleEndian.Uint32(p)
	s.curVoid = false
	if preserve {
		return nil
	}
	e.Header = make([]byte, len(e.Header))
	if e.RecordSize > 0 {
		n := s.curExt
		s.each(1, maxUID, func(c *chunk, at int) { clear(c.ext(at, n)) })
	}
	return nil
}

func (s *State) applyExtHeader(r *record) error {
	if _, err := s.current(); err != nil {
		return err
	}
	prefix := 4
	if r.typ == recExtHdr32 {
		prefix = 8
	}
	for p := r.payload; len(p) >= prefix; {
		off, size := int(binary.LittleEndian.Uint16(p)), int(binary.LittleEndian.Uint16(p[2:]))
		if prefix == 8 {
			off, size = int(binary.LittleEndian.Uint32(p)), int(binary.LittleEndian.Uint32(p[4:]))
		}
		if size > len(p)-prefix || off+size > maxExtHdr {
			return damaged("extension header update of %d bytes at %d", size, off)
		}
		if err := s.setExtHeader(off, p[prefix:prefix+size]); err != nil {
			return err
		}
		p = p[min(pad(prefix+size, 4), len(p)):]
	}
	return nil
}

func (s *State) setExtHeader(off int, data []byte) error {
	if s.curVoid {
		return nil
	}
	if off+len(data) > len(s.Exts[s.curExt].Header) {
		return damaged("extension header update beyond the end (%s)", s.Exts[s.curExt].Name)
	}
	s.unshare()
	e := &s.Exts[s.curExt]
	e.Header = append([]byte(nil), e.Header...)
	copy(e.Header[off:], data)
	if s.modSeqStart.introduced && e.Name == extModSeq && len(e.Header) >= 8 {
		s.modseqZero = max(binary.LittleEndian.Uint64(e.Header), 1)
		s.modSeqStart = modSeqStart{pending: s.modseqZero < s.modseq, at: s.logOff}
	}
	return nil
}

func (s *State) applyExtRecords(p []byte) error {
	if _, err := s.current(); err != nil {
		return err
	}
	step := 4 + pad(s.curSize, 4)
	if s.curSize == 0 || len(p)%step != 0 {
		return damaged("extension records of %d bytes, size %d", len(p), s.curSize)
	}
	if s.curVoid {
		return nil
	}
	for ; len(p) > 0; p = p[step:] {
		uid := binary.LittleEndian.Uint32(p)
		if uid == 0 || uid >= s.Hdr.NextUID() {
			return damaged("extension record of uid %d, next is %d", uid, s.Hdr.NextUID())
		}
		data := p[4 : 4+s.curSize]
		n := s.curExt
		s.each(uid, uid, func(c *chunk, at int) { copy(c.ext(at, n), data) })
	}
	return nil
}

func (s *State) applyAtomicInc(p []byte) (err error) {
	if _, err := s.current(); err != nil {
		return err
	}
	if len(p)%8 != 0 {
		return damaged("atomic increment of %d bytes", len(p))
	}
	if s.curVoid {
		return nil
	}
	n := s.curExt
	for ; len(p) > 0; p = p[8:] {
		uid, diff := binary.LittleEndian.Uint32(p), int64(int32(binary.LittleEndian.Uint32(p[4:])))
		if uid == 0 || uid >= s.Hdr.NextUID() {
			return damaged("atomic increment of uid %d, next is %d", uid, s.Hdr.NextUID())
		}
		s.each(uid, uid, func(c *chunk, at int) {
			if !addTo(c.ext(at, n), diff) {
				err = damaged("atomic increment of uid %d by %d", uid, diff)
			}
		})
	}
	return err
}

// addTo adds diff to the little-endian number in d.
func addTo(d []byte, diff int64) bool {
	switch len(d) {
	case 1, 2, 4, 8:
	default:
		return false
	}
	var b [8]byte
	copy(b[:], d)
	old := binary.LittleEndian.Uint64(b[:])
	v := old + uint64(diff)
	if diff < 0 && v > old || diff > 0 && v < old || len(d) < 8 && v>>(8*len(d)) != 0 {
		return false
	}
	binary.LittleEndian.PutUint64(b[:], v)
	copy(d, b[:])
	return true
}

// keyword returns the number of a keyword and makes it if there is none. The
// first use of any keyword creates their extension.
func (s *State) keyword(name string) (int, error) {
	if s.keywordExt < 0 {
		s.addExt(Ext{Name: extKeywords, RecordSize: 1, RecordAlign: 1})
	}
	if k := s.Keyword(name); k >= 0 {
		return k, nil
	}
	if name == "" || strings.IndexByte(name, 0) >= 0 || len(s.Keywords) >= maxKeywords {
		return 0, damaged("keyword %q, number %d", name, len(s.Keywords))
	}
	s.unshare()
	s.Keywords = append(s.Keywords, name)
	if need := keywordRecordSize(len(s.Keywords)); need > s.Exts[s.keywordExt].RecordSize {
		s.Exts[s.keywordExt].RecordSize = need
		s.extsChanged()
	}
	return len(s.Keywords) - 1, nil
}

// keywordRecordSize is what Dovecot reserves for n keywords in each message.
func keywordRecordSize(n int) uint16 {
	size := (n + 7) / 8
	if size%4 != 0 {
		size++
	}
	return uint16(size)
}

func (s *State) applyKeywords(p []byte) error {
	if len(p) < 4 {
		return damaged("keyword record of %d bytes", len(p))
	}
	op, nameSize := KeywordOp(p[0]), int(binary.LittleEndian.Uint16(p[2:]))
	if op > KeywordReplace || pad(4+nameSize, 4) > len(p) || (len(p)-pad(4+nameSize, 4))%8 != 0 {
		return damaged("keyword record with operation %d, name of %d bytes", op, nameSize)
	}
	k, err := s.keyword(string(p[4 : 4+nameSize]))
	if err != nil {
		return err
	}
	for p = p[pad(4+nameSize, 4):]; len(p) > 0; p = p[8:] {
		first, last, err := rangeOf(p)
		if err != nil {
			return err
		}
		s.each(first, last, func(c *chunk, at int) {
			bits := c.ext(at, s.keywordExt)
			switch op {
			case KeywordReplace:
				clear(bits)
				fallthrough
			case KeywordAdd:
				bits[k/8] |= 1 << (k % 8)
			case KeywordRemove:
				bits[k/8] &^= 1 << (k % 8)
			}
			s.setModSeq(c, at)
		})
	}
	return nil
}

func (s *State) applyKeywordReset(p []byte) error {
	if len(p)%8 != 0 {
		return damaged("keyword reset of %d bytes", len(p))
	}
	for ; len(p) > 0; p = p[8:] {
		first, last, err := rangeOf(p)
		if err != nil {
			return err
		}
		s.each(first, last, func(c *chunk, at int) {
			clear(c.ext(at, s.keywordExt))
			s.setModSeq(c, at)
		})
	}
	return nil
}
