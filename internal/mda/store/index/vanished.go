package index

import (
	"errors"
	"slices"
)

// Expunged returns the uids, ascending, of messages expunged with a modseq above
// since, as far as the newest log and the one before it go. ok is false if that
// is not far enough.
func (x *Index) Expunged(since uint64) (uids []uint32, ok bool, err error) {
	if since >= x.st.modseq {
		return nil, true, nil
	}
	if uids, err = expungedIn(x.log, int64(x.st.logOff), since, nil); err != nil {
		return nil, false, err
	}
	// A log without predecessor need not be the first: an index made anew has forgotten.
	ok = x.log.modseq <= since
	if !ok && x.log.prevSeq == 0 {
		return nil, false, nil
	}
	if !ok {
		prev, err := openLog(x.dir, x.names.log2)
		if errors.Is(err, ErrNotExist) || errors.Is(err, ErrDamaged) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		defer prev.close()
		if prev.seq != x.log.prevSeq || prev.modseq > since {
			return nil, false, nil
		}
		if uids, err = expungedIn(prev, int64(x.log.prevOff), since, uids); err != nil {
			return nil, false, err
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids), true, nil
}

// expungedIn appends the uids that the log says were expunged after since.
func expungedIn(l *logFile, end int64, since uint64, uids []uint32) ([]uint32, error) {
	b, err := l.readFrom(int64(l.size), end)
	if err != nil {
		return nil, err
	}
	for modseq := l.modseq; len(b) > 0; {
		r, n, err := nextRecord(b)
		if err != nil || n == 0 {
			break
		}
		modseq = modSeqAfter(modseq, b[:n], l.minor)
		if r.typ == recExpungeGUID && r.external && modseq > since {
			for p := r.payload; len(p) >= 20; p = p[20:] {
				uids = append(uids, le32(p))
			}
		}
		b = b[n:]
	}
	return uids, nil
}
