package index

import "encoding/binary"

// encodeHeader returns base and extension headers of a dovecot.index with the
// state, whose messages are written with the layout lay.
func (s *State) encodeHeader(lay *layout) []byte {
	h := s.Hdr
	h[offMinor] = indexMinor
	binary.LittleEndian.PutUint16(h[offBaseSize:], headerSize)
	h.setU32(offRecordSize, uint32(lay.size))
	h.setU32(offMessages, uint32(s.n))
	h.setU32(offLogSeq, s.logSeq)
	h.setU32(offLogTail, s.logOff)
	h.setU32(offLogHead, s.logOff)
	b := append(make([]byte, 0, 1024), h[:]...)
	for i := range s.Exts {
		e := &s.Exts[i]
		data := s.encodeExtData(e)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
		b = binary.LittleEndian.AppendUint32(b, e.ResetID)
		b = binary.LittleEndian.AppendUint16(b, uint16(lay.off[i]))
		b = binary.LittleEndian.AppendUint16(b, uint16(lay.width[i]))
		b = binary.LittleEndian.AppendUint16(b, e.RecordAlign)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(e.Name)))
		b = append(b, e.Name...)
		b = append(b, make([]byte, pad(len(b), 8)-len(b))...)
		b = append(b, data...)
		b = append(b, make([]byte, pad(len(b), 8)-len(b))...)
	}
	binary.LittleEndian.PutUint32(b[offHeaderSize:], uint32(len(b)))
	return b
}

func (s *State) encodeExtData(e *Ext) []byte {
	switch e.Name {
	case extKeywords:
		return encodeKeywords(s.Keywords)
	case extModSeq:
		b := binary.LittleEndian.AppendUint64(make([]byte, 0, 16), s.modseq)
		b = binary.LittleEndian.AppendUint32(b, s.logSeq)
		return binary.LittleEndian.AppendUint32(b, s.logOff)
	}
	return e.Header
}

func encodeKeywords(names []string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(names)))
	off := 0
	for _, name := range names {
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(off))
		off += len(name) + 1
	}
	for _, name := range names {
		b = append(append(b, name...), 0)
	}
	return append(b, make([]byte, pad(len(b), 4)-len(b))...)
}

// encode passes the whole dovecot.index to write, piece by piece. Only a full
// state can be encoded.
func (s *State) encode(write func([]byte) error) error {
	lay := packed(s.Exts)
	if err := write(s.encodeHeader(lay)); err != nil {
		return err
	}
	var buf []byte
	for _, c := range s.chunks {
		buf = c.appendConverted(buf[:0], lay)
		s.fillModSeq(buf, lay)
		if err := write(buf); err != nil {
			return err
		}
	}
	return nil
}

// fillModSeq replaces a modseq of 0, which stands for the highest at the time
// when modseqs were first kept, by its value: the header will say another.
func (s *State) fillModSeq(buf []byte, lay *layout) {
	if lay.modseq == 0 {
		return
	}
	for at := lay.modseq; at < len(buf); at += lay.size {
		if binary.LittleEndian.Uint64(buf[at:]) == 0 {
			binary.LittleEndian.PutUint64(buf[at:], s.modseqZero)
		}
	}
}
