package index

import (
	"context"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// Refresh reads what other processes appended. It costs one system call when
// there is nothing.
func (x *Index) Refresh() (changed bool, err error) {
	var st unix.Stat_t
	err = x.dir.Stat(x.names.log, &st)
	if errors.Is(err, unix.ENOENT) {
		return x.readLast()
	}
	if err != nil && x.dir.Unusable(err) {
		return false, damaged("stat(%s): %w", x.dir.File(x.names.log), err)
	}
	if err != nil {
		return false, sysError("stat", x.dir.File(x.names.log), err)
	}
	if st.Ino != x.log.ino || st.Dev != x.log.dev {
		return x.follow()
	}
	return x.readTo(st.Size)
}

// readLast reads the rest of a log that has no name any more. If it does not say
// that the mailbox was deleted, the log is missing.
func (x *Index) readLast() (changed bool, err error) {
	size, err := x.log.fileSize()
	if err == nil {
		changed, err = x.readTo(size)
	}
	if err == nil && !x.st.deleted {
		err = damaged("%s is missing", x.names.log)
	}
	return changed, err
}

// readTo applies the log up to size.
func (x *Index) readTo(size int64) (changed bool, err error) {
	if size == int64(x.st.logOff) {
		return false, nil
	}
	if x.log.condemned() {
		return false, damaged("log was marked corrupted")
	}
	s := x.st.edit()
	if err := x.applyLog(s, x.log, size); err != nil {
		return false, err
	}
	changed = s.logOff != x.st.logOff
	x.st = s
	return changed, nil
}

// follow continues in the log that has replaced the open one.
func (x *Index) follow() (changed bool, err error) {
	l, err := openLog(x.dir, x.names.log)
	if err != nil {
		return false, err
	}
	s := x.st.edit()
	if l.indexID == x.log.indexID && l.prevSeq == x.log.seq && x.applyLog(s, x.log, int64(l.prevOff)) == nil && s.logOff == l.prevOff {
		size, err := l.fileSize()
		if err == nil {
			s.nextLog(l)
			err = x.applyLog(s, l, size)
		}
		if err != nil {
			l.close()
			return false, err
		}
		x.log.close()
		x.log, x.st = l, s
		return true, nil
	}
	l.close()
	return true, x.open(x.st.light)
}

// Lock takes the lock that every writer of the mailbox needs, reads what is
// new, and cuts off what a killed writer left at the end of the log.
func (x *Index) Lock(ctx context.Context) (changed bool, err error) {
	for {
		if err := lockFile(ctx, x.log.fd, x.opt.LockMethod, x.opt.LockTimeout); err != nil {
			return changed, sysError("lock", x.dir.File(x.names.log), err)
		}
		var st unix.Stat_t
		err := x.dir.Stat(x.names.log, &st)
		if err == nil && st.Ino == x.log.ino && st.Dev == x.log.dev {
			x.locked = true
			more, err := x.lockedRefresh(st.Size)
			if err != nil {
				x.release()
			}
			return changed || more, err
		}
		unlockFile(x.log.fd, x.opt.LockMethod)
		if errors.Is(err, unix.ENOENT) {
			if _, err := x.readLast(); err != nil {
				return changed, err
			}
			return true, ErrDeleted
		}
		if err != nil && x.dir.Unusable(err) {
			return changed, damaged("stat(%s): %w", x.dir.File(x.names.log), err)
		}
		if err != nil {
			return changed, sysError("stat", x.dir.File(x.names.log), err)
		}
		if _, err := x.follow(); err != nil {
			return changed, err
		}
		changed = true
	}
}

func (x *Index) lockedRefresh(size int64) (changed bool, err error) {
	if x.log.condemned() {
		return false, damaged("log was marked corrupted")
	}
	if changed, err = x.readTo(size); err != nil {
		return changed, err
	}
	if size > int64(x.st.logOff) {
		if err := x.checkRest(size); err != nil {
			return changed, err
		}
		x.opt.Log.Warningf("Mailbox %s: cut %d bytes of an unfinished transaction off %s", x.opt.Name, size-int64(x.st.logOff), x.dir.File(x.names.log))
		if err := unix.Ftruncate(x.log.fd, int64(x.st.logOff)); err != nil {
			return changed, sysError("ftruncate", x.dir.File(x.names.log), err)
		}
		x.cut = true
	}
	return changed, nil
}

// WasCut reports, once, whether Lock cut an unfinished transaction off the log.
func (x *Index) WasCut() bool {
	cut := x.cut
	x.cut = false
	return cut
}

// checkRest returns an error if what comes behind the last whole transaction is more than a
// writer leaves that is killed.
func (x *Index) checkRest(size int64) error {
	rest, err := x.log.readFrom(int64(x.st.logOff), size)
	if err != nil {
		return err
	}
	if at := resume(rest); at > 0 {
		return damaged("log has %d unreadable bytes at %d", at, x.st.logOff)
	}
	return nil
}

// Commit appends the transaction to the log and makes it part of the state. The
// lock must be held. The log is not flushed.
func (x *Index) Commit(tx *Tx) error {
	p, err := x.Prepare(tx)
	if err != nil {
		return err
	}
	return x.Append(p)
}

// A Prepared transaction has its place in the log, and is not there yet. The zero value has nothing
// to append.
type Prepared struct {
	b []byte
	s *State
}

// Bytes returns what the log gets, valid as long as the [Tx] is not changed.
func (p Prepared) Bytes() []byte { return p.b }

// Prepare checks a transaction, which [Index.Append] then appends where the log ends now. The lock must
// be held from here until then.
func (x *Index) Prepare(tx *Tx) (Prepared, error) {
	if tx.Empty() {
		return Prepared{}, nil
	}
	b := tx.bytes()
	if x.opt.Tail {
		b = tx.withTail(x.st.logOff)
	}
	s := x.st.edit()
	if err := x.apply(s, x.log, b); err != nil {
		return Prepared{}, err
	}
	return Prepared{b, s}, nil
}

// Append does what [Index.Commit] does, of a prepared transaction.
func (x *Index) Append(p Prepared) error {
	if p.s == nil {
		return nil
	}
	if err := WriteAll(x.log.fd, p.b); err != nil {
		// A part of it may be there. If it cannot be cut off now, whoever
		// locks the log next does.
		unix.Ftruncate(x.log.fd, int64(x.st.logOff)) //nolint:errcheck // see above
		return sysError("write", x.dir.File(x.names.log), err)
	}
	x.st = p.s
	return nil
}

// Unlock gives the lock back. Before, it starts a new log or writes
// dovecot.index when it is time for that.
func (x *Index) Unlock() {
	if !x.locked {
		return
	}
	if err := x.maintain(); err != nil {
		x.opt.Log.Errorf("Mailbox %s: %v", x.opt.Name, err)
	}
	x.release()
}

func (x *Index) release() {
	x.locked = false
	if x.log != nil {
		unlockFile(x.log.fd, x.opt.LockMethod)
	}
}

// maintain keeps the files short.
func (x *Index) maintain() error {
	size, age := int64(x.st.logOff), x.opt.Now().Unix()-int64(x.log.created)
	switch {
	case len(x.st.requests) > 0 || x.st.deleted:
		return nil // the tail must not pass a request
	case size > x.opt.RotateMax, x.log.minor < logMinor,
		size >= x.opt.RotateMin && age > int64(x.opt.RotateMinAge.Seconds()) && x.cheapToRewrite(size):
		return x.Rotate()
	case x.behind() >= x.opt.RewriteMax && (!x.st.light || x.diskSeq == 0):
		return x.Rewrite()
	}
	return nil
}

// rewriteShare is how much is written of dovecot.index, at most, for each byte of the log by
// a process that only delivers. What a delivery costs must not grow with the mailbox;
// who reads the messages anyway writes them when it is time.
const rewriteShare = 8

// cheapToRewrite tells whether it is time to write dovecot.index, after size bytes of log.
func (x *Index) cheapToRewrite(size int64) bool {
	return !x.st.light || x.diskSize <= rewriteShare*size
}

// behind returns how much log dovecot.index does not contain.
func (x *Index) behind() int64 {
	if x.diskSeq != x.log.seq {
		return int64(x.st.logOff)
	}
	return int64(x.st.logOff) - int64(x.diskOff)
}

// WorthRewriting tells whether dovecot.index is missing or so old that the next
// to open the mailbox should find a new one.
func (x *Index) WorthRewriting() bool {
	return x.diskSeq == 0 || x.behind() >= x.opt.RewriteMin
}

// AdvanceTail records that every internal record of the log has been carried
// out. The lock must be held.
func (x *Index) AdvanceTail() error {
	var tx Tx
	tx.HeaderU32(offLogTail, x.st.logOff+recHeaderSize+8)
	if err := x.Commit(&tx); err != nil {
		return err
	}
	s := x.st.edit()
	s.requests = nil
	x.st = s
	return nil
}
