package index

import "encoding/binary"

// Unsynced returns the uids whose flags or keywords another process changed by an internal
// record, which says that the mail files do not have the change yet. They may contain
// uids of no message.
func (s *State) Unsynced() []Range { return s.unsynced }

// noteUnsynced remembers an internal change of flags or keywords.
func (s *State) noteUnsynced(r *record) {
	if r.external {
		return
	}
	p, size := r.payload, 8
	switch r.typ {
	case recFlagUpdate:
		size = 12
	case recKeywords:
		if len(p) < 4 {
			return
		}
		p = p[min(pad(4+int(binary.LittleEndian.Uint16(p[2:])), 4), len(p)):]
	case recKeywordReset:
	default:
		return
	}
	for ; len(p) >= size; p = p[size:] {
		if first, last, err := rangeOf(p); err == nil {
			s.unsynced = append(s.unsynced[:len(s.unsynced):len(s.unsynced)], Range{first, last})
		}
	}
}

// tailMoved forgets what is before the log's new tail.
func (s *State) tailMoved() {
	if s.Hdr.u32(offLogTail) >= s.logOff {
		s.unsynced = nil
	}
}

// Preview returns the state that a transaction, which appends nothing, would lead to.
func (x *Index) Preview(tx *Tx) (*State, error) {
	if tx.Empty() {
		return x.st, nil
	}
	s := x.st.edit()
	return s, x.apply(s, x.log, tx.bytes())
}
