package mbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// JournalName is the file with what is to come into the mailbox's one: see the package
// comment.
const JournalName = "dovetail.mbox.journal"

// newJournal is the journal while it is written.
const newJournal = JournalName + ".new"

const (
	journalMagic  = "DTMBOX1\n"
	journalHeader = len(journalMagic) + 6*8
)

var crcTable = crc64.MakeTable(crc64.ECMA)

// A journal is the new end of a file.
type journal struct {
	box      *Box
	fd       int
	dev, ino uint64
	start    int64 // of the first byte that changes
	before   int64 // size of the file
	after    int64
	sum      uint64
}

func (j *journal) encode() []byte {
	b := append(make([]byte, 0, journalHeader), journalMagic...)
	for _, v := range [...]uint64{j.dev, j.ino, uint64(j.start), uint64(j.before), uint64(j.after), j.sum} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// decode reads the header. It returns false if it makes no sense.
func (j *journal) decode(b []byte, size int64) bool {
	if len(b) < journalHeader || string(b[:len(journalMagic)]) != journalMagic {
		return false
	}
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[len(journalMagic)+8*i:]) }
	j.dev, j.ino, j.start, j.before, j.after, j.sum = v(0), v(1), int64(v(2)), int64(v(3)), int64(v(4)), v(5)
	return j.start >= 0 && j.start <= j.before && j.start <= j.after && size-int64(journalHeader) == j.after-j.start
}

func (j *journal) close() { unix.Close(j.fd) }

// drop removes the journal.
func (j *journal) drop() error { return j.box.opt.Dir.Remove(JournalName) }

// read reads a part of the new file.
func (j *journal) read(p []byte, off int64) (int, error) {
	return index.ReadAt(j.fd, p, off-j.start+int64(journalHeader))
}

// writeJournal makes a complete journal of a change. Nothing of the change is done before. It takes the
// place of another one in one step.
func (b *Box) writeJournal(p *plan, size int64) (j *journal, err error) {
	if err := b.opt.Dir.Remove(newJournal); err != nil { // of a killed process
		return nil, err
	}
	j = &journal{box: b, dev: b.dev, ino: b.ino, start: p.edits[p.first].start, before: b.size, after: size}
	if j.fd, err = b.opt.Dir.Create(newJournal); err != nil {
		return nil, fmt.Errorf("open(%s): %w", b.opt.Dir.File(newJournal), err)
	}
	at := int64(journalHeader)
	put := func(text []byte) error {
		j.sum = crc64.Update(j.sum, crcTable, text)
		err := pwrite(j.fd, text, at)
		at += int64(len(text))
		return err
	}
	err = p.pieces(b.size, func(s span) error { return b.copyTo(s, b.ReadAt, put) }, put)
	if err == nil {
		err = pwrite(j.fd, j.encode(), 0)
	}
	if err == nil {
		err = b.reserve(j.before, j.after)
	}
	if err == nil {
		err = b.publish(j)
	}
	if err != nil {
		j.close()
		return nil, errors.Join(fmt.Errorf("write(%s): %w", b.opt.Dir.File(newJournal), err), b.opt.Dir.Remove(newJournal))
	}
	return j, nil
}

// publish gives a journal its name, for good. The file has to have the size on disk that the journal says,
// or a power failure could leave it half changed with another one.
func (b *Box) publish(j *journal) error {
	if err := b.sync(); err != nil {
		return err
	}
	if b.opt.Sync {
		if err := unix.Fdatasync(j.fd); err != nil {
			return err
		}
	}
	if err := b.opt.Dir.Rename(newJournal, JournalName); err != nil {
		return err
	}
	return b.syncDir()
}

// syncDir has the names in the index's directory on disk. Not all kernels do that with fdatasync(2) on ext4.
func (b *Box) syncDir() error {
	if !b.opt.Sync {
		return nil
	}
	if err := unix.Fsync(b.opt.Dir.FD); err != nil {
		return fmt.Errorf("fsync(%s): %w", b.opt.Dir.Path, err)
	}
	return nil
}

// sync has the file on disk.
func (b *Box) sync() error {
	if !b.opt.Sync {
		return nil
	}
	if err := unix.Fdatasync(b.fd); err != nil {
		return fmt.Errorf("fdatasync(%s): %w", b.opt.Path, err)
	}
	return nil
}

func pwrite(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// replay puts the new end into the file. The file has its new size at once if it grows, and
// not before all is there if it shrinks.
func (b *Box) replay(j *journal) error {
	if j.after > j.before {
		if err := b.truncate(max(j.after, b.size)); err != nil {
			return err
		}
	}
	if err := b.finish(j); err != nil {
		return err
	}
	if j.after < j.before {
		// A file that has its new size counts as done: what it got must be there before.
		if err := b.sync(); err != nil {
			return err
		}
		if err := b.truncate(j.after); err != nil {
			return err
		}
	}
	if err := b.sync(); err != nil {
		return err
	}
	return b.forget(j)
}

// forget removes a journal whose change is done, for good: if a power failure brought it back, it
// would be written over what has come to the file since.
func (b *Box) forget(j *journal) error {
	if err := j.drop(); err != nil {
		return err
	}
	return b.syncDir()
}

// finish writes the journal's content into the file.
func (b *Box) finish(j *journal) error {
	to := j.start
	return b.copyTo(span{j.start, j.after}, j.read, func(text []byte) error {
		err := b.writeAt(text, to)
		to += int64(len(text))
		return err
	})
}

// HasJournal reports whether somebody was killed, or is busy, changing the file. Anybody may
// call it.
func (b *Box) HasJournal() bool {
	var st unix.Stat_t
	return b.opt.Dir.Stat(JournalName, &st) == nil
}

// recover finishes what a killed process began.
func (b *Box) recover(st *unix.Stat_t) error {
	if !b.HasJournal() {
		return nil
	}
	j, err := b.openJournal()
	if err != nil {
		return err
	}
	if j == nil {
		return b.opt.Dir.Remove(JournalName) // it was not complete, and nothing had begun
	}
	defer j.close()
	b.size = st.Size
	if j.after < j.before && b.size == j.after {
		b.Distrust()
		return b.forget(j) // it was done
	}
	ours, err := b.concerns(j)
	if err != nil {
		return err
	}
	if !ours {
		b.opt.Log.Warningf("Mailbox %s: %s was changed after a process was killed that was changing it", b.opt.Name, b.opt.Path)
		return b.forget(j)
	}
	b.opt.Log.Warningf("Mailbox %s: finished a change of %s during which a process was killed", b.opt.Name, b.opt.Path)
	b.Distrust()
	if tail := b.size - j.before; tail > 0 && j.after < j.before {
		return b.replayBefore(j)
	}
	return b.replay(j)
}

// openJournal returns the journal that is there if it is complete.
func (b *Box) openJournal() (*journal, error) {
	fd, err := b.opt.Dir.Open(JournalName, unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("open(%s): %w", b.opt.Dir.File(JournalName), err)
	}
	j := &journal{box: b, fd: fd}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		j.close()
		return nil, err
	}
	head := make([]byte, journalHeader)
	n, _ := index.ReadAt(fd, head, 0)
	ok := j.decode(head[:n], st.Size)
	if ok {
		sum := uint64(0)
		err = b.copyTo(span{j.start, j.after}, j.read, func(text []byte) error {
			sum = crc64.Update(sum, crcTable, text)
			return nil
		})
		ok = err == nil && sum == j.sum
	}
	if !ok {
		j.close()
		return nil, nil
	}
	return j, nil
}

// concerns reports whether the file is the one that the journal is about, perhaps half
// changed, and with new messages of other programs at its end. The number of its device may be another
// one after a restart of the machine, which is when this matters most.
func (b *Box) concerns(j *journal) (bool, error) {
	if j.ino != b.ino {
		return false, nil
	}
	if b.size == j.before || j.after > j.before && b.size == j.after {
		return true, nil
	}
	if b.size < max(j.before, j.after) {
		return false, nil // done, or somebody has removed messages
	}
	if j.after <= j.before {
		return true, nil
	}
	// It has grown. If that was not for this change, nothing of it was done yet.
	n := min(j.after-j.before, 4096)
	have, want := make([]byte, n), make([]byte, n)
	if _, err := b.ReadAt(have, j.before); err != nil {
		return false, err
	}
	if _, err := j.read(want, j.before); err != nil {
		return false, err
	}
	for i := range have {
		if have[i] != want[i] { // the rest was not written yet
			return len(bytes.Trim(have[i:], "\x00")) == 0, nil
		}
	}
	return true, nil
}

// replayBefore is replay for a file that shrinks and that others have appended to since.
func (b *Box) replayBefore(j *journal) error {
	if err := b.finish(j); err != nil {
		return err
	}
	// What comes next has a journal of its own, which takes the place of this one.
	if err := b.sync(); err != nil {
		return err
	}
	return b.apply(newPlan([]edit{{span: span{j.after, j.before}}}))
}
