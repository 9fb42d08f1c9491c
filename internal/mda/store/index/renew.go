package index

// Renew replaces all that the index says by what tx records: a log that starts from
// nothing takes the place of the old one. The lock must be held; it then holds on the new log.
func (x *Index) Renew(tx *Tx) error {
	now := uint32(x.opt.Now().Unix())
	h := logHeader{
		minor: logMinor, size: logHeaderSize, indexID: x.log.indexID,
		seq: x.log.seq + 1, created: now, modseq: x.st.modseq,
	}
	s := newState(newHeader(h.indexID), false)
	s.logSeq, s.logOff, s.modseq = h.seq, logHeaderSize, h.modseq
	if err := x.apply(s, &logFile{logHeader: h}, tx.bytes()); err != nil {
		return err
	}
	l, err := x.writeLog(&h, tx.bytes())
	if err != nil {
		return err
	}
	x.condemn()
	if err := x.replaceLog(); err != nil {
		l.close()
		return err
	}
	x.switchTo(l, s)
	return x.Rewrite()
}

// A FlagUpdate is what a transaction does to the flags of messages. One that touches them
// raises their modseqs even if none of these flags changes.
type FlagUpdate struct {
	Range
	Add, Remove byte
	Touch       bool
}

// FlagUpdates records changes of flags, which all get one modseq. Ranges must ascend.
func (t *Tx) FlagUpdates(list []FlagUpdate) {
	start := t.begin(recFlagUpdate | typeExternal)
	for _, u := range list {
		t.u32(u.First)
		t.u32(u.Last)
		touch := byte(0)
		if u.Touch {
			touch = 1
		}
		t.buf = append(t.buf, u.Add, u.Remove, touch, 0)
	}
	t.end(start)
}
