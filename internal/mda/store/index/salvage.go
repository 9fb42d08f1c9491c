package index

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// maxCredibleSeq is above the sequences that logs reach: a new one each second for 30 years.
const maxCredibleSeq = 1 << 30

// A salvaged state is what could be read of one file, with what the logs say since.
type salvaged struct {
	*State
	placed bool // its position is one in the logs that are there
	lossy  bool // something of it could not be read
}

// salvage returns the best state that can be had, and the highest log sequence
// seen.
func (x *Index) salvage(whole func(*State) bool) (best *State, lastSeq uint32) {
	lastSeq = firstLogSeq - 1
	logs := x.salvageLogs()
	for _, l := range logs {
		if l.seq < maxCredibleSeq {
			lastSeq = max(lastSeq, l.seq)
		}
		defer l.close()
	}
	var won *salvaged
	consider := func(s *salvaged) {
		s.placed = s.placed || placed(s.State, logs)
		x.salvageReplay(s, logs)
		s.lossy = s.lossy || whole != nil && !whole(s.State)
		if won == nil || s.knowsMore(won) {
			won = s
		}
	}
	if x.st != nil && !x.st.light {
		consider(&salvaged{State: x.st.edit(), placed: true}) // clients were told of it
	}
	for _, name := range []string{x.names.index, x.names.backup} {
		d := &decoder{salvage: true}
		if s, err := x.readIndexFile(name, d); err == nil {
			consider(&salvaged{State: s, lossy: d.wrong != nil})
		}
	}
	for _, l := range logs {
		if l.prevSeq == 0 {
			s := newState(newHeader(l.indexID), false)
			s.logSeq, s.logOff, s.modseq = l.seq, uint32(l.size), l.modseq
			consider(&salvaged{State: s})
		}
	}
	if won == nil {
		best = newState(newHeader(0), false)
		best.Hdr.setU32(offIndexID, 0)
		return best, lastSeq
	}
	if won.logSeq < maxCredibleSeq {
		lastSeq = max(lastSeq, won.logSeq)
	}
	return won.State, lastSeq
}

// knowsMore compares what could be read of damaged files: what goes further in
// the log is newer; at the same place, what could be read wholly is better.
func (s *salvaged) knowsMore(t *salvaged) bool {
	switch {
	case s.placed && t.placed && s.logSeq != t.logSeq:
		return s.logSeq > t.logSeq
	case s.placed && t.placed && s.logOff != t.logOff:
		return s.logOff > t.logOff
	case s.placed != t.placed || !s.placed:
		// The logs are older than one of them, or its position is damaged.
		if a, b := s.Hdr.NextUID(), t.Hdr.NextUID(); a != b && !s.lossy && !t.lossy {
			return a > b
		}
		if s.modseq != t.modseq && !s.lossy && !t.lossy {
			return s.modseq > t.modseq
		}
		if s.placed != t.placed {
			return s.placed
		}
	}
	if s.lossy != t.lossy {
		return !s.lossy
	}
	return s.n > t.n
}

// placed tells whether a state is at a position in one of the logs.
func placed(s *State, logs []*logFile) bool {
	for _, l := range logs {
		if l.prevSeq != 0 && s.logSeq == l.prevSeq && s.logOff == l.prevOff {
			return true
		}
		if size, err := l.fileSize(); err == nil && l.isLog(s.logSeq) && int64(s.logOff) <= size {
			return true
		}
	}
	return false
}

// isLog tells whether the log is the one with the sequence, as far as that can be known of
// one whose header is damaged.
func (l *logFile) isLog(seq uint32) bool {
	return l.seq == seq || l.prevSeq != 0 && l.prevSeq+1 == seq
}

// salvageLogs opens the logs that are there, oldest first, even condemned ones.
func (x *Index) salvageLogs() (logs []*logFile) {
	for _, name := range []string{x.names.log2, x.names.log} {
		fd, _, err := x.dir.OpenRegular(name, unix.O_RDWR)
		if err != nil {
			continue
		}
		b := make([]byte, logHeaderSize)
		n, _ := ReadAt(fd, b, 0)
		h, err := salvageLogHeader(b[:n])
		if err != nil {
			unix.Close(fd)
			continue
		}
		logs = append(logs, &logFile{logHeader: h, fd: fd})
	}
	slices.SortFunc(logs, func(a, b *logFile) int { return int(int64(a.seq) - int64(b.seq)) })
	return logs
}

// salvageLogHeader reads a header of which a part may be damaged: the records may be sound.
func salvageLogHeader(b []byte) (logHeader, error) {
	if len(b) < logHeaderSize {
		return decodeLogHeader(b)
	}
	b[0], b[32] = logMajor, compatLittle
	if size := binary.LittleEndian.Uint16(b[2:]); size != logOldHeader {
		binary.LittleEndian.PutUint16(b[2:], logHeaderSize)
	}
	if le32(b[4:]) == 0 {
		b[4] = 1 // condemned
	}
	return decodeLogHeader(b)
}

// salvageReplay applies the logs to s as far as they go.
func (x *Index) salvageReplay(s *salvaged, logs []*logFile) {
	for _, l := range logs {
		if l.prevSeq != 0 && s.logSeq == l.prevSeq && s.logOff == l.prevOff {
			s.nextLog(l)
		}
		size, err := l.fileSize()
		if err != nil || !l.isLog(s.logSeq) || size < int64(s.logOff) {
			continue
		}
		if x.startAt(s.State, l) != nil {
			return
		}
		s.salvageLog(l, size)
	}
}

// salvageLog applies what can be read of a log, transaction by transaction.
func (s *salvaged) salvageLog(l *logFile, size int64) {
	b, err := l.readFrom(int64(s.logOff), size)
	if err != nil {
		return
	}
	for len(b) > 0 {
		n, _ := complete(b)
		for n > 0 {
			k := groupLen(b)
			s.salvageGroup(b[:k], l.minor)
			b, n = b[k:], n-k
		}
		skip := resume(b)
		if skip < 0 {
			return
		}
		s.logOff += uint32(skip)
		s.curExt, s.skipped = -1, true
		b = b[skip:]
	}
}

// salvageGroup applies a transaction, or as much of it as makes sense. One with messages
// that cannot be new does not.
func (s *salvaged) salvageGroup(b []byte, minor byte) {
	before, end := *s.State, s.logOff+uint32(len(b))
	if next := s.edit(); !s.skipped && next.applyAll(b, minor) == nil {
		*s.State = *next
		return
	}
	for len(b) > 0 {
		r, n, err := nextRecord(b)
		if n == 0 || err != nil {
			break
		}
		next := s.edit()
		switch {
		case s.numbersAgree(&r) && next.apply(&r, minor) == nil:
			*s.State = *next
		case r.typ == recAppend:
			*s.State = before
			s.logOff = end
			return
		case r.typ == recExtIntro:
			s.curExt = -1
		}
		b = b[n:]
	}
	s.logOff = end
}
