package index

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Rewrite replaces dovecot.index by the newest state. The lock must be held.
// The one before stays as dovecot.index.backup.
func (x *Index) Rewrite() error {
	if err := x.Load(); err != nil {
		return err
	}
	if err := x.writeIndex(x.st); err != nil {
		x.dir.Remove(x.names.tmp)
		return err
	}
	x.diskSeq, x.diskOff = x.st.logSeq, x.st.logOff
	return x.removeOldLog()
}

// removeOldLog removes the log before this one when it has served its time: it
// is only for sessions that lag behind, and for [Index.Expunged].
func (x *Index) removeOldLog() error {
	var st unix.Stat_t
	if x.dir.Stat(x.names.log2, &st) != nil || x.opt.Now().Unix()-st.Mtim.Sec < int64(x.opt.Log2MaxAge.Seconds()) {
		return nil
	}
	return x.dir.Remove(x.names.log2)
}

func (x *Index) writeIndex(s *State) error {
	// A left-over file is from a writer that was killed: we have the lock.
	if err := x.dir.Remove(x.names.tmp); err != nil {
		return err
	}
	fd, err := x.dir.Create(x.names.tmp)
	if err != nil {
		return sysError("open", x.dir.File(x.names.tmp), err)
	}
	defer unix.Close(fd)
	w := fileWriter{fd: fd}
	err = s.encode(w.write)
	if err == nil {
		err = w.flush()
	}
	if err == nil && !x.opt.NoSync {
		err = unix.Fdatasync(fd)
	}
	if err != nil {
		return sysError("write", x.dir.File(x.names.tmp), err)
	}
	x.backup()
	return x.dir.Rename(x.names.tmp, x.names.index)
}

// backup keeps dovecot.index under another name. Without it a damaged index
// costs flags, but that is no reason to fail.
func (x *Index) backup() {
	if x.dir.Remove(x.names.backup) == nil {
		_ = unix.Linkat(x.dir.FD, x.names.index, x.dir.FD, x.names.backup, 0)
	}
}

// A fileWriter gathers small writes.
type fileWriter struct {
	fd  int
	buf []byte
}

const fileWriterSize = 256 << 10

func (w *fileWriter) write(b []byte) error {
	w.buf = append(w.buf, b...)
	if len(w.buf) < fileWriterSize {
		return nil
	}
	return w.flush()
}

func (w *fileWriter) flush() error {
	err := WriteAll(w.fd, w.buf)
	w.buf = w.buf[:0]
	return err
}

// Rotate starts a new log and writes dovecot.index. The lock must be held; it
// then holds on the new log.
func (x *Index) Rotate() error {
	if err := x.Load(); err != nil {
		return err
	}
	// A write to the old log wakes those who watch it.
	var tx Tx
	tx.HeaderU32(offLogTail, x.st.logOff+recHeaderSize+8)
	if err := x.Commit(&tx); err != nil {
		return err
	}
	if !x.opt.NoSync {
		// Whoever flushes after this flushes the new log only.
		if err := unix.Fdatasync(x.log.fd); err != nil {
			return sysError("fdatasync", x.dir.File(x.names.log), err)
		}
	}
	now := uint32(x.opt.Now().Unix())
	h := logHeader{
		minor: logMinor, size: logHeaderSize, indexID: x.log.indexID, seq: x.log.seq + 1,
		prevSeq: x.log.seq, prevOff: x.st.logOff, created: now, modseq: x.st.modseq,
	}
	l, err := x.writeLog(&h, nil)
	if err != nil {
		return err
	}
	if err := x.replaceLog(); err != nil {
		l.close()
		return err
	}
	s := x.st.edit()
	s.nextLog(l)
	s.Hdr.setU32(offLog2Rotate, now)
	x.switchTo(l, s)
	return x.Rewrite()
}

// switchTo makes l the log and gives up the one before, with its lock.
func (x *Index) switchTo(l *logFile, s *State) {
	x.log.close()
	x.log, x.st, x.locked = l, s, true
}

// writeLog makes dovecot.index.log.newlock with the header and content, locked.
func (x *Index) writeLog(h *logHeader, content []byte) (*logFile, error) {
	fd, err := x.takeNewLock()
	if err != nil {
		return nil, sysError("open", x.dir.File(x.names.newLock), err)
	}
	err = WriteAll(fd, h.encode())
	if err == nil {
		err = WriteAll(fd, content)
	}
	if err == nil && !x.opt.NoSync { // before it has a name: XFS may know that without the header
		err = unix.Fdatasync(fd)
	}
	var l *logFile
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil {
		l, err = newLogFile(fd, &st)
	}
	if err != nil {
		unix.Close(fd)
		x.dir.Remove(x.names.newLock)
		return nil, sysError("write", x.dir.File(x.names.newLock), err)
	}
	// Later writes must go to the end whatever others append.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND); err != nil {
		l.close()
		x.dir.Remove(x.names.newLock)
		return nil, sysError("fcntl", x.dir.File(x.names.newLock), err)
	}
	return l, nil
}

// Ages in seconds at which a left-over .newlock is removed: as long as Dovecot
// waits for one, and, where nobody holds its lock, long enough for whoever
// makes it to get that.
const (
	staleNewLock = 60
	deadNewLock  = 2
)

// takeNewLock returns the .newlock that [Index.lockMissing] made, or makes it.
func (x *Index) takeNewLock() (fd int, err error) {
	if x.claimed {
		x.claimed = false
		return x.newLock, nil
	}
	return x.createNewLock()
}

// createNewLock makes .newlock, locked. EEXIST if another is making a log.
func (x *Index) createNewLock() (fd int, err error) {
	fd, err = x.dir.Create(x.names.newLock)
	if errors.Is(err, unix.EEXIST) {
		// Whoever makes a new log for an existing one has the lock, and so have we:
		// it was killed. Only a mailbox being created has no log to lock.
		if !x.locked && !x.newLockLeftOver() {
			return -1, unix.EEXIST
		}
		if err := x.dir.Remove(x.names.newLock); err != nil {
			return -1, err
		}
		fd, err = x.dir.Create(x.names.newLock)
	}
	if err != nil {
		return -1, err
	}
	if err := tryLock(fd, x.opt.LockMethod, unix.F_WRLCK); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// newLockLeftOver reports whether whoever made .newlock has died.
func (x *Index) newLockLeftOver() bool {
	fd, err := x.dir.Open(x.names.newLock, unix.O_RDWR)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false
	}
	age := x.opt.Now().Unix() - st.Mtim.Sec
	return age >= staleNewLock || age >= deadNewLock && tryLock(fd, x.opt.LockMethod, unix.F_WRLCK) == nil
}

// replaceLog puts the new log in the place of the old, which becomes .log.2.
func (x *Index) replaceLog() error {
	err := x.dir.Remove(x.names.log2)
	if err == nil {
		if err := unix.Linkat(x.dir.FD, x.names.log, x.dir.FD, x.names.log2, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			x.opt.Log.Warningf("Mailbox %s: link(%s): %v", x.opt.Name, x.dir.File(x.names.log2), err)
		}
		err = x.dir.Rename(x.names.newLock, x.names.log)
	}
	if err != nil {
		x.dir.Remove(x.names.newLock)
	}
	return err
}
