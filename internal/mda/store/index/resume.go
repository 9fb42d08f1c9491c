package index

import "encoding/binary"

// A writer that is killed leaves the begin of one transaction behind the last whole one.
// If there are more records behind what cannot be read, it is damage in the middle of
// the log: those records are to be kept.

// resume returns where in b, which begins with something unreadable, whole records
// begin again that reach to the end of b; -1 if there are none. The records of a group that
// b begins with and that would end behind b do not count: nobody was told of them.
func resume(b []byte) int {
	r, first, err := nextRecord(b)
	torn := err == nil && first > 0 && r.typ == recBoundary && int(binary.LittleEndian.Uint32(r.payload)) > len(b)
	for at := 4; at < len(b); at += 4 {
		if groups, ok := chain(b[at:]); ok {
			if torn && groups == 0 {
				return -1
			}
			return at
		}
	}
	return -1
}

// chain tells whether b consists of plausible records, and how many groups are among them.
func chain(b []byte) (groups int, ok bool) {
	for len(b) > 0 {
		r, n, err := nextRecord(b)
		if n == 0 || err != nil || !r.plausible(binary.LittleEndian.Uint32(b[4:])) {
			return 0, false
		}
		if r.typ == recBoundary {
			groups++
		}
		b = b[n:]
	}
	return groups, true
}

// plausible tells whether a record found somewhere looks like one. typ is its type as it is written.
func (r *record) plausible(typ uint32) bool {
	if typ&^(typeMask|typeExternal|typeSync) != 0 {
		return false
	}
	n := len(r.payload)
	switch r.typ {
	case recAppend, recKeywordReset:
		return n%8 == 0
	case recFlagUpdate, recModSeq:
		return n%12 == 0
	case recExpungeGUID:
		return n%20 == 0
	case recExpunge:
		return n%8 == 0
	case recBoundary:
		return n == 4
	case recExtIntro:
		return n >= 20 && n < 20+64+4
	case recKeywords:
		return n >= 12 && r.payload[0] <= 2 && int(binary.LittleEndian.Uint16(r.payload[2:])) <= n-12
	case recHeaderUpdate, recExtHdrUpdate:
		return n >= 8 && int(binary.LittleEndian.Uint16(r.payload[2:])) <= n-4
	case recExtHdr32, recExtRecUpdate, recAtomicInc, recExtReset, recIndexDeleted, recUndeleted, recAttribute:
		return true
	}
	return false
}

// numbersAgree tells whether an intro by number can be of the extension that has the number
// here, after a part of the log was skipped in which another one may have got it.
func (s *State) numbersAgree(r *record) bool {
	if !s.skipped || r.typ != recExtIntro || len(r.payload) < 20 {
		return true
	}
	id := binary.LittleEndian.Uint32(r.payload)
	return id == extByName || int(id) < len(s.Exts) && s.Exts[id].RecordSize == binary.LittleEndian.Uint16(r.payload[12:])
}
