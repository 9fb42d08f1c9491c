package index

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Create makes the files of a new index whose first transaction is tx. ErrExists
// if there is a log already.
func Create(dir *Dir, opt Options, tx *Tx) (*Index, error) {
	x := newIndex(dir, opt)
	now := uint32(x.opt.Now().Unix())
	h := logHeader{minor: logMinor, size: logHeaderSize, indexID: now, seq: firstLogSeq, created: now, modseq: 1}
	s := newState(newHeader(now), false)
	s.logSeq, s.logOff = h.seq, logHeaderSize
	content := tx.bytes()
	if opt.Tail {
		content = tx.withTail(logHeaderSize)
	}
	if err := x.apply(s, &logFile{logHeader: h}, content); err != nil {
		return nil, err
	}
	l, err := x.writeLog(&h, content)
	if err != nil {
		if errors.Is(err, unix.EEXIST) {
			return nil, ErrExists
		}
		return nil, err
	}
	err = unix.Renameat2(dir.FD, x.names.newLock, dir.FD, x.names.log, unix.RENAME_NOREPLACE)
	if err != nil {
		l.close()
		dir.Remove(x.names.newLock)
		if errors.Is(err, unix.EEXIST) {
			return nil, ErrExists
		}
		return nil, sysError("rename", dir.File(x.names.log), err)
	}
	x.log, x.st, x.locked = l, s, true
	// A mailbox with a log only has no second copy of what it says.
	if err := x.Rewrite(); err != nil {
		x.release()
		return x, err
	}
	x.release()
	return x, nil
}
