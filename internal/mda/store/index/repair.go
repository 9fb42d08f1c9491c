package index

import (
	"context"
	"errors"
	"fmt"
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
	// Whole tells whether a state has what the storage keeps in the index besides messages; nil
	// for always.
	Whole func(s *State) bool
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
	memory := x.st
	reason = x.readAgain()
	if reason != nil && !errors.Is(reason, ErrDamaged) && !errors.Is(reason, ErrNotExist) {
		unlock()
		return nil, reason
	}
	if reason == nil && memory.aheadOf(x.st) {
		reason = damaged("%s has lost its end", x.names.log)
	}
	if reason != nil {
		x.st = memory
	}
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
	memory := x.st
	err = x.readAgain()
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotExist) {
		return err
	}
	if err != nil || memory.aheadOf(x.st) {
		x.st = memory
	}
	return x.rebuild(rb)
}

// aheadOf tells whether s, which is in memory, knows of changes that the log had and lacks now.
func (s *State) aheadOf(t *State) bool {
	return s != nil && t != nil && !s.light && s.Hdr.IndexID() == t.Hdr.IndexID() && s.logSeq == t.logSeq && s.logOff > t.logOff
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
		fd, _, err := x.dir.OpenRegular(x.names.log, unix.O_RDWR)
		if errors.Is(err, ErrNotExist) || errors.Is(err, ErrDamaged) {
			if ok, err := x.lockMissing(ctx); err != nil || !ok {
				if err != nil {
					return nil, err
				}
				continue
			}
			return func() { x.dropNewLock(); x.release() }, nil
		}
		if err != nil {
			return nil, err
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
	log, _, err := x.dir.OpenRegular(x.names.log, unix.O_RDWR)
	switch {
	case errors.Is(err, ErrDamaged):
		err = x.dir.SetAside(x.names.log)
	case errors.Is(err, ErrNotExist):
		err = nil
	case err == nil:
		unix.Close(log)
		x.dropNewLock()
		return false, nil
	}
	if err != nil {
		x.dropNewLock()
	}
	return err == nil, err
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
	size, err := l.fileSize()
	if err == nil && size > int64(x.st.logOff) {
		err = x.checkRest(size)
	}
	return err
}

// rebuild makes the new files.
func (x *Index) rebuild(rb Rebuild) error {
	old, lastSeq := x.salvage(rb.Whole)
	files, err := rb.Files(old)
	if err != nil {
		return err
	}
	now := uint32(x.opt.Now().Unix())
	// Clients were told of modseqs that may be lost; those from now on must be higher. Seconds are more
	// than changes.
	old.modseq = max(old.modseq, uint64(now))
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
