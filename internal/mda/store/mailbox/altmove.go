package mailbox

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mdbox"
)

// inAlt is the flag of a message of an sdbox that is in the second storage.
const inAlt = 0x40

// errNoAlt means that a message is in a second storage that is not there: it may not be
// mounted, and the message must not be given up.
var errNoAlt = errors.New("the second storage (ALT) does not exist")

// An altMover has a second storage for old messages (sdbox, mdbox).
type altMover interface {
	// altMove moves the texts of messages of st there or back. Nothing is locked.
	altMove(ctx context.Context, b *box, st *index.State, uids []uint32, back bool) error
}

// AltMove moves the texts of messages to the second storage (ALT in mail_location) or, if back
// says so, from there. Uids that do not exist are left out; formats without second storage do
// nothing. Of an mdbox a message that several mailboxes have is moved when it has been
// asked for in all of them, while any of them was open.
func (m *Mailbox) AltMove(ctx context.Context, uids []uint32, back bool) error {
	a, ok := m.b.store.(altMover)
	if !ok {
		return nil
	}
	return wrap("altmove in "+m.b.loc.Name, a.altMove(ctx, m.b, m.Snapshot().st, uids, back))
}

// markAlt has the log say which messages are in the second storage. The log's lock is
// held.
func (b *box) markAlt(uids []uint32, back bool) error {
	st := b.ix.State()
	var ranges []index.Range
	for _, uid := range uids {
		if i, ok := st.Find(uid); ok && st.Flags(i)&inAlt == 0 == !back {
			ranges = index.AppendRanges(ranges, []uint32{uid})
		}
	}
	if len(ranges) == 0 {
		return nil
	}
	if back {
		b.tx.Flags(ranges, 0, inAlt)
	} else {
		b.tx.Flags(ranges, inAlt, 0)
	}
	return b.commit()
}

// altMove has the storage move what all mailboxes want there. The index has no flag for it.
func (s *mdboxStore) altMove(ctx context.Context, b *box, st *index.State, uids []uint32, back bool) error {
	list := make([]mdbox.AltMessage, 0, len(uids))
	for _, uid := range uids {
		i, ok := st.Find(uid)
		if !ok {
			continue
		}
		if m, ok := mdboxMail(st, i); ok {
			list = append(list, mdbox.AltMessage{Mailbox: b.loc.Dir, UID: uid, MapUID: m.MapUID})
		}
	}
	return s.storage.AltMove(ctx, list, back)
}

// altBatch is how many files are copied before the log is locked.
const altBatch = 100

// altMove copies the files, says in the log that they are there, and removes the originals. If it
// is interrupted there are two equal files, of which either is read, and both are removed with
// the message.
func (s *sdboxStore) altMove(ctx context.Context, b *box, _ *index.State, uids []uint32, back bool) error {
	if s.Location.AltDir == "" {
		return nil
	}
	alt, err := s.makeAlt(back)
	if err != nil || alt == nil {
		return err
	}
	from, to := s.Dir, alt
	if back {
		from, to = alt, s.Dir
	}
	for len(uids) > 0 {
		n := min(len(uids), altBatch)
		if err := s.altMoveSome(ctx, b, &altFiles{from: from, to: to, uids: uids[:n], back: back}); err != nil {
			return err
		}
		uids = uids[n:]
	}
	return nil
}

// makeAlt opens the second storage, and makes it if something is to come there.
func (s *sdboxStore) makeAlt(back bool) (*index.Dir, error) {
	if alt := s.altDir(); alt != nil || back {
		return alt, nil
	}
	if err := os.MkdirAll(s.Location.AltDir, 0o700); err != nil {
		return nil, err
	}
	s.altMu.Lock()
	defer s.altMu.Unlock()
	err := s.openAlt()
	return s.alt, err
}

// altFiles are files being moved.
type altFiles struct {
	from, to *index.Dir
	uids     []uint32
	back     bool
	temps    map[uint32]altFile
}

// An altFile is a copy with a temporary name, and the original as it was.
type altFile struct {
	temp string
	was  unix.Stat_t
}

func (s *sdboxStore) altMoveSome(ctx context.Context, b *box, f *altFiles) error {
	f.temps = make(map[uint32]altFile)
	defer func() {
		for _, c := range f.temps {
			_ = f.to.Remove(c.temp) // a later scan for temporary files gets it
		}
	}()
	for _, uid := range f.uids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.copyToAlt(f, uid); err != nil {
			return err
		}
	}
	var placed []uint32
	err := b.locked(ctx, func() (err error) {
		if placed, err = s.placeInAlt(b.ix.State(), f); err == nil {
			err = b.markAlt(f.uids, f.back)
		}
		return err
	})
	if err == nil && s.Fsync.Saves() && len(placed) > 0 {
		err = commit.Dir(f.to.FD)
	}
	if err != nil {
		return err
	}
	for _, uid := range placed {
		if f.from == s.Dir {
			s.recordRemoved(dbox.FileName(uid))
		}
		if err := f.from.Remove(dbox.FileName(uid)); err != nil {
			return err
		}
	}
	return nil
}

// copyToAlt makes a flushed copy of the file of a message, if it is where it is to leave.
func (s *sdboxStore) copyToAlt(f *altFiles, uid uint32) error {
	name := dbox.FileName(uid)
	var was unix.Stat_t
	err := f.from.Stat(name, &was)
	if errors.Is(err, unix.ENOENT) {
		return nil // it is there already, or gone
	}
	if err != nil {
		return fmt.Errorf("stat(%s): %w", f.from.File(name), err)
	}
	temp, err := dbox.CopyFile(f.from, name, f.to, s.flushData)
	if errors.Is(err, dbox.ErrNotExist) {
		return nil
	}
	if err == nil {
		f.temps[uid] = altFile{temp, was}
	}
	return err
}

// flushData has a file on disk whatever the volume: the original is about to be removed.
func (s *sdboxStore) flushData(fd int) error {
	if !s.Fsync.Saves() {
		return nil
	}
	return commit.Data(fd)
}

// placeInAlt gives the copies of messages that still exist their names. The log's lock is held.
func (s *sdboxStore) placeInAlt(st *index.State, f *altFiles) (placed []uint32, err error) {
	for uid, c := range f.temps {
		name := dbox.FileName(uid)
		var is unix.Stat_t
		if _, ok := st.Find(uid); !ok || f.from.Stat(name, &is) != nil || is.Ino != c.was.Ino || is.Mtim != c.was.Mtim {
			continue
		}
		if err := f.to.Rename(c.temp, name); err != nil {
			return placed, err
		}
		delete(f.temps, uid)
		placed = append(placed, uid)
	}
	return placed, nil
}

// openAlt opens the second storage, where there is one. altMu is held, or nobody else has s.
func (s *sdboxStore) openAlt() error {
	path := s.Location.AltDir
	if s.alt != nil || path == "" {
		return nil
	}
	alt, err := index.OpenDir(path)
	if errors.Is(err, index.ErrNotExist) {
		return nil // nothing was ever moved there
	}
	s.alt = alt
	return err
}

// altDir returns the second storage, nil for none. Another process may have made it
// meanwhile.
func (s *sdboxStore) altDir() *index.Dir {
	if s.Location.AltDir == "" {
		return nil
	}
	s.altMu.Lock()
	defer s.altMu.Unlock()
	if err := s.openAlt(); err != nil {
		s.Log.Errorf("Mailbox %s: %v", s.Location.Name, err)
	}
	return s.alt
}

var (
	_ altMover = (*sdboxStore)(nil)
	_ altMover = (*mdboxStore)(nil)
)
