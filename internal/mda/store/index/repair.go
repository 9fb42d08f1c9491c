package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Rebuild is what [Index.Repair] asks its caller for.
type Rebuild struct {
	// Files returns the uids, ascending, of the messages that exist. old is what
	// could be read of the old index.
	Files func(old *State) ([]uint32, error)
	// Finish adds to the first transaction of the new log what the storage
	// keeps in the index besides messages. old is what could be read of the old
	// index; it has a zero uid validity if that was nothing.
	Finish func(old *State, tx *Tx)
	// UIDValidity returns one for a mailbox that lost it.
	UIDValidity func() uint32
}

// Repair makes new index files from what can be read of the old ones and the
// mail files that exist. Messages keep their uids and, if these are still known
// somewhere, flags and keywords. The new log starts from nothing, so other
// processes forget what they remember of the mailbox, and it replaces the old one
// before dovecot.index is written: whoever is killed in between leaves a
// readable index. It returns what was wrong; nil if another process was faster.
func (x *Index) Repair(ctx context.Context, rb Rebuild) (reason error, err error) {
	unlock, err := x.lockForRepair(ctx)
	if err != nil {
		return nil, err
	}
	reason = x.readAgain()
	if reason == nil && !x.st.Hdr.Fsckd() && x.st.Hdr.UIDValidity() != 0 {
		unlock()
		return nil, nil
	}
	if reason == nil {
		reason = damaged("marked for a rebuild")
	}
	err = x.rebuild(rb)
	unlock()
	return reason, err
}

// Force rebuilds like [Index.Repair] though the index itself is sound: its
// owner found that the mail files contradict it.
func (x *Index) Force(ctx context.Context, rb Rebuild) error {
	unlock, err := x.lockForRepair(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := x.readAgain(); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotExist) {
		return err
	}
	return x.rebuild(rb)
}

// newLockPoll is how often the end of another's making of a log is looked for.
const newLockPoll = 5 * time.Millisecond

// lockForRepair locks whatever file has the log's name, valid or not. Where
// there is none it claims the making of one.
func (x *Index) lockForRepair(ctx context.Context) (unlock func(), err error) {
	var dir unix.Stat_t
	if err := unix.Fstat(x.dir.FD, &dir); err == nil && dir.Nlink == 0 {
		return nil, fmt.Errorf("%s: %w", x.dir.Path, ErrDeleted)
	}
	for {
		fd, err := x.dir.Open(x.names.log, unix.O_RDWR)
		if errors.Is(err, unix.ENOENT) {
			if ok, err := x.lockMissing(ctx); err != nil || !ok {
				if err != nil {
					return nil, err
				}
				continue
			}
			return func() { x.dropNewLock(); x.release() }, nil
		}
		if err != nil {
			return nil, sysError("open", x.dir.File(x.names.log), err)
		}
		if err := lockFile(ctx, fd, x.opt.LockMethod, x.opt.LockTimeout); err != nil {
			unix.Close(fd)
			return nil, sysError("lock", x.dir.File(x.names.log), err)
		}
		var open, path unix.Stat_t
		if unix.Fstat(fd, &open) == nil && x.dir.Stat(x.names.log, &path) == nil && open.Ino == path.Ino {
			return func() { unix.Close(fd); x.release() }, nil
		}
		unix.Close(fd)
	}
}

// lockMissing makes .newlock, so that nobody else makes a log until this one is
// made. It returns false, after a while, if another was faster.
func (x *Index) lockMissing(ctx context.Context) (ok bool, err error) {
	fd, err := x.createNewLock()
	if errors.Is(err, unix.EEXIST) {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(newLockPoll):
			return false, nil
		}
	}
	if err != nil {
		return false, sysError("open", x.dir.File(x.names.newLock), err)
	}
	x.newLock, x.claimed = fd, true
	var st unix.Stat_t
	if x.dir.Stat(x.names.log, &st) == nil {
		x.dropNewLock()
		return false, nil
	}
	return true, nil
}

// dropNewLock removes a .newlock that was claimed and not used.
func (x *Index) dropNewLock() {
	if x.claimed {
		x.claimed = false
		x.dir.Remove(x.names.newLock)
		unix.Close(x.newLock)
	}
}

// readAgain reads the files from scratch and returns what is wrong with them.
func (x *Index) readAgain() error {
	l, err := openLog(x.dir, x.names.log)
	if errors.Is(err, ErrNotExist) {
		return damaged("%s is missing", x.names.log)
	}
	if err != nil {
		return err
	}
	if err := x.readAll(l, false); err != nil {
		l.close()
		return err
	}
	return nil
}

// rebuild makes the new files.
func (x *Index) rebuild(rb Rebuild) error {
	old, lastSeq := x.salvage()
	files, err := rb.Files(old)
	if err != nil {
		return err
	}
	now := uint32(x.opt.Now().Unix())
	h := logHeader{
		minor: logMinor, size: logHeaderSize, indexID: old.Hdr.IndexID(),
		seq: lastSeq + 1, created: now, modseq: old.modseq,
	}
	if h.indexID == 0 {
		h.indexID = now
	}
	var tx Tx
	old.dump(&tx, files, rb)
	s := newState(newHeader(h.indexID), false)
	s.logSeq, s.logOff, s.modseq = h.seq, logHeaderSize, h.modseq
	if err := s.applyAll(tx.bytes(), logMinor); err != nil {
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
	// Its offsets belong to the messages of the old index.
	if err := x.dir.Remove(x.names.cache); err != nil {
		x.opt.Log.Errorf("Mailbox %s: %v", x.opt.Name, err)
	}
	x.switchTo(l, s)
	return x.Rewrite()
}

// condemn tells processes that have the old log open not to use it any more.
func (x *Index) condemn() {
	if fd, err := x.dir.Open(x.names.log, unix.O_WRONLY); err == nil {
		_, _ = unix.Pwrite(fd, make([]byte, 4), 4)
		unix.Close(fd)
	}
}

// salvage returns the best state that can be had, and the highest log sequence
// seen.
func (x *Index) salvage() (best *State, lastSeq uint32) {
	lastSeq = firstLogSeq - 1
	logs := x.salvageLogs()
	for _, l := range logs {
		lastSeq = max(lastSeq, l.seq)
		defer l.close()
	}
	consider := func(s *State) {
		if s == nil {
			return
		}
		lastSeq = max(lastSeq, s.logSeq)
		x.salvageReplay(s, logs)
		if best == nil || s.knowsMore(best) {
			best = s
		}
	}
	if x.st != nil && !x.st.light {
		consider(x.st.edit())
	}
	for _, name := range []string{x.names.index, x.names.backup} {
		if s, err := x.readIndexFile(name, &decoder{salvage: true}); err == nil {
			consider(s)
		}
	}
	for _, l := range logs {
		if l.prevSeq == 0 {
			s := newState(newHeader(l.indexID), false)
			s.logSeq, s.logOff, s.modseq = l.seq, uint32(l.size), l.modseq
			consider(s)
		}
	}
	if best == nil {
		best = newState(newHeader(0), false)
		best.Hdr.setU32(offIndexID, 0)
	}
	return best, lastSeq
}

// knowsMore compares what could be read of damaged files: what goes further in
// the log is newer; at the same place, some may lack messages.
func (s *State) knowsMore(t *State) bool {
	if s.logSeq != t.logSeq {
		return s.logSeq > t.logSeq
	}
	if s.logOff != t.logOff {
		return s.logOff > t.logOff
	}
	return s.n > t.n
}

// salvageLogs opens the logs that are there, oldest first, even condemned ones.
func (x *Index) salvageLogs() (logs []*logFile) {
	for _, name := range []string{x.names.log2, x.names.log} {
		fd, err := x.dir.Open(name, unix.O_RDWR)
		if err != nil {
			continue
		}
		b := make([]byte, logHeaderSize)
		n, _ := ReadAt(fd, b, 0)
		if n == logHeaderSize && binary.LittleEndian.Uint32(b[4:]) == 0 {
			binary.LittleEndian.PutUint32(b[4:], 1) // condemned: the rest may be sound
		}
		h, err := decodeLogHeader(b[:n])
		if err != nil {
			unix.Close(fd)
			continue
		}
		logs = append(logs, &logFile{logHeader: h, fd: fd})
	}
	slices.SortFunc(logs, func(a, b *logFile) int { return int(int64(a.seq) - int64(b.seq)) })
	return logs
}

// salvageReplay applies the logs to s as far as they go.
func (x *Index) salvageReplay(s *State, logs []*logFile) {
	for _, l := range logs {
		if l.prevSeq != 0 && s.logSeq == l.prevSeq && s.logOff == l.prevOff {
			s.nextLog(l)
		}
		size, err := l.fileSize()
		if err != nil || s.logSeq != l.seq || size < int64(s.logOff) {
			continue
		}
		if x.startAt(s, l) != nil || !s.salvageLog(l, size) {
			return
		}
	}
}

// salvageLog applies a log as far as it is sound, up to a whole transaction.
func (s *State) salvageLog(l *logFile, size int64) (all bool) {
	b, err := l.readFrom(int64(s.logOff), size)
	if err != nil {
		return false
	}
	n, err := complete(b)
	for b = b[:n]; len(b) > 0; {
		n := groupLen(b)
		next := s.edit()
		if n == 0 || next.applyAll(b[:n], l.minor) != nil {
			return false
		}
		*s = *next
		b = b[n:]
	}
	return err == nil
}

// dump records, for an empty log, the state reduced to the uids of files and
// extended by those it does not know.
func (s *State) dump(tx *Tx, files []uint32, rb Rebuild) {
	for i := range s.Exts {
		e := &s.Exts[i]
		if e.Name == extKeywords || e.Name == CacheExt || e.Name == extModSeq {
			continue
		}
		tx.Intro(&ExtDef{Name: e.Name, HdrSize: uint32(len(e.Header)), RecordSize: e.RecordSize, RecordAlign: e.RecordAlign, ResetID: e.ResetID})
		if len(e.Header) > 0 && len(e.Header) <= 0xffff {
			tx.ExtHeader(0, e.Header)
		}
	}
	next, firstRecent, validity := s.Hdr.NextUID(), s.Hdr.FirstRecent(), s.Hdr.UIDValidity()
	if validity == 0 {
		validity = rb.UIDValidity()
	}
	tx.UIDValidity(validity)
	s.dumpMessages(tx, files)
	if len(files) > 0 {
		next = max(next, files[len(files)-1]+1)
	}
	tx.NextUID(next)
	tx.FirstRecent(min(max(firstRecent, 1), next))
	if v := s.Hdr.TempScan(); v != 0 {
		tx.TempScan(v)
	}
	rb.Finish(s, tx)
	if s.KeepsModSeq() {
		tx.KeepModSeq(s.modseq)
	}
}

// CacheExt is the extension that points into dovecot.index.cache.
const CacheExt = "cache"

func (s *State) dumpMessages(tx *Tx, files []uint32) {
	if len(files) == 0 {
		return
	}
	msgs := make([]New, len(files))
	known := make([]int, len(files)) // message number or -1
	for i, uid := range files {
		msgs[i], known[i] = New{UID: uid}, -1
		if n, ok := s.Find(uid); ok {
			known[i], msgs[i].Flags = n, s.Flags(n)
		}
	}
	tx.Append(msgs...)
	for e := range s.Exts {
		s.dumpExt(tx, e, files, known)
	}
	for k, name := range s.Keywords {
		var uids []uint32
		for i, uid := range files {
			if known[i] >= 0 && HasBit(s.KeywordBits(known[i]), k) {
				uids = append(uids, uid)
			}
		}
		if len(uids) > 0 {
			tx.Keyword(KeywordAdd, name, AppendRanges(nil, uids))
		}
	}
}

// dumpExt records the data of extension e. Modseqs are not kept: all rise above
// the highest, so that clients look again.
func (s *State) dumpExt(tx *Tx, e int, files []uint32, known []int) {
	ext := &s.Exts[e]
	if ext.RecordSize == 0 || ext.Name == extKeywords || ext.Name == extModSeq || ext.Name == CacheExt {
		return
	}
	tx.Intro(&ExtDef{Name: ext.Name, HdrSize: uint32(len(ext.Header)), RecordSize: ext.RecordSize, RecordAlign: ext.RecordAlign, ResetID: ext.ResetID})
	start := -1
	for i, uid := range files {
		if known[i] < 0 {
			continue
		}
		data := s.ExtRecord(known[i], e)
		if len(data) != int(ext.RecordSize) || isZero(data) {
			continue
		}
		if start < 0 {
			start = tx.begin(recExtRecUpdate | typeExternal)
		}
		tx.u32(uid)
		tx.buf = append(tx.buf, data...)
		tx.buf = append(tx.buf, make([]byte, pad(len(data), 4)-len(data))...)
	}
	if start >= 0 {
		tx.end(start)
	}
}

func isZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// HasBit tells whether bit k is set in b, which may be shorter.
func HasBit(b []byte, k int) bool { return k/8 < len(b) && b[k/8]&(1<<(k%8)) != 0 }
