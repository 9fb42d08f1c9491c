package index

import (
	"encoding/binary"
	"errors"
)

// A modSeqStart notes where in the logs a State's index began to keep modseqs. The header of the
// extension says what those messages have that had none, but whoever wrote it may not have known of
// the latest changes: those are found again in the logs, and all readers must find the same.
type modSeqStart struct {
	introduced bool   // the extension has no header yet
	pending    bool   // the header is older than the log before it: startModSeq is to be called
	at         uint32 // offset of the header in the log
}

// startModSeq gives the messages of s, whose index has begun to keep modseqs in log l, those of their
// last change in the logs, if that is later than the extension's header says, as Dovecot does. If the
// logs do not go back to the index's beginning, only the last is believed, and no message has less than
// that log began with. behind is what follows in the log at offset from, if it is not written yet.
func (x *Index) startModSeq(s *State, l *logFile, behind []byte, from int64) error {
	at := int64(s.modSeqStart.at)
	s.modSeqStart = modSeqStart{}
	if s.light {
		return nil
	}
	if l.prevSeq != 0 {
		whole, err := x.raiseFromPrevious(s, l)
		if err != nil {
			return err
		}
		if !whole {
			s.modseqZero = max(s.modseqZero, l.modseq)
		}
	}
	b, err := l.readFrom(int64(l.size), from)
	if err != nil {
		return err
	}
	s.raiseModSeqs(append(b, behind[:at-from]...), l.modseq, l.minor)
	return nil
}

// raiseFromPrevious applies .log.2, the predecessor of l, if it is the first log of the index.
func (x *Index) raiseFromPrevious(s *State, l *logFile) (whole bool, err error) {
	prev, err := openLog(x.dir, x.names.log2)
	if errors.Is(err, ErrNotExist) || errors.Is(err, ErrDamaged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer prev.close()
	if prev.prevSeq != 0 || prev.seq != l.prevSeq || prev.indexID != l.indexID {
		return false, nil
	}
	b, err := prev.readFrom(int64(prev.size), int64(l.prevOff))
	if err != nil {
		return false, err
	}
	s.raiseModSeqs(b, prev.modseq, prev.minor)
	return true, nil
}

// raiseModSeqs gives the messages that the records of a log change the modseqs of these changes. Before
// the first the log is at modseq.
func (s *State) raiseModSeqs(b []byte, modseq uint64, minor byte) {
	for len(b) > 0 {
		r, n, err := nextRecord(b)
		if err != nil || n == 0 {
			return
		}
		modseq = modSeqAfter(modseq, b[:n], minor)
		b = b[n:]
		if modseq <= s.modseqZero {
			continue
		}
		for first, last := range r.changed() {
			s.each(first, last, func(c *chunk, i int) {
				if d := c.modSeq(i); d != nil && binary.LittleEndian.Uint64(d) < modseq {
					binary.LittleEndian.PutUint64(d, modseq)
				}
			})
		}
	}
}

// changed yields the ranges of uids that the record adds, or changes flags or keywords of.
func (r *record) changed() func(yield func(first, last uint32) bool) {
	p, size, single := r.payload, 0, false
	switch r.typ {
	case recAppend:
		size, single = 8, true
	case recFlagUpdate:
		size = 12
	case recKeywordReset:
		size = 8
	case recKeywords:
		if len(p) >= 4 {
			size, p = 8, p[min(pad(4+int(binary.LittleEndian.Uint16(p[2:])), 4), len(p)):]
		}
	}
	return func(yield func(first, last uint32) bool) {
		for ; size > 0 && len(p) >= size; p = p[size:] {
			first, last := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
			if single {
				last = first
			}
			if first == 0 || first > last {
				continue
			}
			if !yield(first, last) {
				return
			}
		}
	}
}
