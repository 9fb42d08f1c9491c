package index

import (
	"errors"
	"slices"
)

// Expunged returns the uids, ascending, of messages expunged with a modseq above
// since, as far as the newest log and the one before it go. ok is false if that
// is not far enough.
func (x *Index) Expunged(since uint64) (uids []uint32, ok bool, err error) {
	ok, err = x.eachSince(since, func(r *record, _ byte) {
		if r.typ != recExpungeGUID || !r.external {
			return
		}
		for p := r.payload; len(p) >= 20; p = p[20:] {
			uids = append(uids, le32(p))
		}
	})
	if !ok || err != nil {
		return nil, false, err
	}
	slices.Sort(uids)
	return slices.Compact(uids), true, nil
}

// Changed calls fn with ranges of uids, in no order, that have all messages which came or whose flags or
// keywords were changed with a modseq above since. ok is false as that of [Index.Expunged].
func (x *Index) Changed(since uint64, fn func(first, last uint32)) (ok bool, err error) {
	return x.eachSince(since, func(r *record, minor byte) {
		if !r.countsModSeq(minor) {
			return
		}
		for first, last := range r.changed() {
			fn(first, last)
		}
	})
}

// eachSince calls fn with the records of the newest log and the one before it that have a modseq above
// since, and the minor version of their log. ok is false if the logs do not go so far.
func (x *Index) eachSince(since uint64, fn func(r *record, minor byte)) (ok bool, err error) {
	if since >= x.st.modseq {
		return true, nil
	}
	if err := x.log.eachSince(int64(x.st.logOff), since, fn); err != nil || x.log.modseq <= since {
		return err == nil, err
	}
	// A log without predecessor need not be the first: an index made anew has forgotten.
	if x.log.prevSeq == 0 {
		return false, nil
	}
	prev, err := openLog(x.dir, x.names.log2)
	if errors.Is(err, ErrNotExist) || errors.Is(err, ErrDamaged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer prev.close()
	if prev.seq != x.log.prevSeq || prev.modseq > since {
		return false, nil
	}
	err = prev.eachSince(int64(x.log.prevOff), since, fn)
	return err == nil, err
}

// eachSince calls fn with the records of the log before end that have a modseq above since.
func (l *logFile) eachSince(end int64, since uint64, fn func(r *record, minor byte)) error {
	b, err := l.readFrom(int64(l.size), end)
	if err != nil {
		return err
	}
	for modseq := l.modseq; len(b) > 0; {
		r, n, err := nextRecord(b)
		if err != nil || n == 0 {
			break
		}
		modseq = modSeqAfter(modseq, b[:n], l.minor)
		if modseq > since {
			fn(&r, l.minor)
		}
		b = b[n:]
	}
	return nil
}
