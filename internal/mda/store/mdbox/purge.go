package mdbox

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/attachment"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Purge rewrites the files that contain messages without references, without
// these. Files that somebody appends to at the moment are left out. Others may use the storage
// between two files.
func (s *Storage) Purge(ctx context.Context) error {
	s.mu.Lock()
	err := s.load(ctx)
	ids := s.purgeable()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		err := s.purgeFile(ctx, id, nil)
		s.mu.Unlock()
		if errors.Is(err, errRebuilt) {
			return nil // nothing is left to purge that is known to be dead
		}
		if err != nil {
			return fmt.Errorf("purge mdbox file %s: %w", s.dir.File(fileName(id)), err)
		}
	}
	return nil
}

// errBusy has a file left as it is, since it is in use.
var errBusy = errors.New("a message was copied meanwhile")

// purgeable returns the files with messages that nobody refers to.
func (s *Storage) purgeable() (ids []uint32) {
	t := s.table.Load()
	if t == nil {
		return nil
	}
	for i := range t.st.Len() {
		if e := t.entry(i); e.refs == 0 && e.at.file != 0 {
			ids = append(ids, e.at.file)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// entriesOf returns what the map says of a file, by offset.
func entriesOf(t *table, id uint32) (list []entry) {
	for i := range t.st.Len() {
		if e := t.entry(i); e.at.file == id {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return int(int64(a.at.offset) - int64(b.at.offset)) })
	return list
}

// A move is where messages of a purged file are now.
type move struct {
	files []*target // those that there are messages for
	moved []movedTo
	dead  []uint32
	refs  []attachment.Ref // attachments of the dead
}

// A target is a new file in one of the storages.
type target struct {
	dir *index.Dir
	*appendFile
}

// A movedTo is the new place of a message.
type movedTo struct {
	uid uint32
	to  *target
	at  place // file 0
}

// file returns the new file in dir.
func (m *move) file(s *Storage, dir *index.Dir) (*target, error) {
	for _, t := range m.files {
		if t.dir == dir {
			return t, nil
		}
	}
	f, err := s.create(dir)
	if err != nil {
		return nil, err
	}
	m.files = append(m.files, &target{dir, f})
	return m.files[len(m.files)-1], nil
}

// discard removes the new files.
func (m *move) discard() {
	for _, t := range m.files {
		t.discard(t.dir)
	}
	m.files = nil
}

// purgeFile rewrites one file; messages named in moves come into a file of the other storage.
// mu is held.
func (s *Storage) purgeFile(ctx context.Context, id uint32, moves map[uint32]bool) error {
	dir, fd, err := s.openForPurge(id)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd) // and with it the lock
	if err := s.load(ctx); err != nil {
		return err
	}
	g := s.generation()
	m, err := s.copyLive(dir, fd, entriesOf(s.table.Load(), id), moves)
	defer m.discard()
	if err == nil {
		err = s.enterMoved(ctx, g, dir, id, &m)
	}
	if errors.Is(err, errBusy) {
		return nil // another time
	}
	return err
}

// openForPurge opens and locks a file in either storage. fd is -1 if it is gone or
// somebody is appending to it.
func (s *Storage) openForPurge(id uint32) (dir *index.Dir, fd int, err error) {
	dir = s.dir
	fd, err = dir.Open(fileName(id), unix.O_RDWR)
	if errors.Is(err, unix.ENOENT) && s.alt != nil {
		dir = s.alt
		fd, err = dir.Open(fileName(id), unix.O_RDWR)
	}
	if errors.Is(err, unix.ENOENT) {
		return dir, -1, nil
	}
	if err != nil {
		return dir, -1, sysError("open", dir.File(fileName(id)), err)
	}
	var open, path unix.Stat_t
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil || unix.Fstat(fd, &open) != nil ||
		dir.Stat(fileName(id), &path) != nil || path.Ino != open.Ino {
		unix.Close(fd)
		return dir, -1, nil
	}
	return dir, fd, nil
}

// copyLive copies what is to be kept into new files and flushes these.
func (s *Storage) copyLive(dir *index.Dir, fd int, entries []entry, moves map[uint32]bool) (m move, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return m, err
	}
	h, err := dbox.ReadFileHeader(fdReader(fd))
	if err == nil && h.MessageHeader != dbox.MessageHeaderSize {
		err = fmt.Errorf("%w: message headers of %d bytes", dbox.ErrCorrupt, h.MessageHeader)
	}
	if err != nil {
		return m, err
	}
	keep := func(at, size int64) error {
		to, err := m.file(s, dir)
		if err != nil {
			return err
		}
		return to.writeFrom(fd, at, size)
	}
	end := int64(h.Size)
	for i := range entries {
		e := &entries[i]
		if err := keepUnknown(fd, &h, end, int64(e.at.offset), keep); err != nil {
			return m, err
		}
		end = max(end, e.at.end())
		stored, err := dbox.ReadStored(fdReader(fd), &h, int64(e.at.offset), e.at.end())
		switch {
		case e.refs == 0:
			m.bury(e.uid, &stored, err)
		case err != nil:
			return m, fmt.Errorf("map uid %d: %w", e.uid, err)
		default:
			if err := s.copyMessage(&m, dir, fd, e, moves[e.uid]); err != nil {
				return m, err
			}
		}
	}
	if err := keepUnknown(fd, &h, end, st.Size, keep); err != nil || !s.opt.Fsync.Saves() {
		return m, err
	}
	for _, t := range m.files {
		if err := commit.Data(t.fd); err != nil {
			return m, err
		}
	}
	return m, nil
}

// bury notes a message that nobody has any more, with its attachments if it can be read.
func (m *move) bury(uid uint32, stored *dbox.Stored, err error) {
	m.dead = append(m.dead, uid)
	if err != nil {
		return
	}
	if value := stored.Metadata.Get(dbox.KeyAttachments); value != "" {
		if refs, err := attachment.ParseRefs(value); err == nil {
			m.refs = append(m.refs, refs...)
		}
	}
}

// copyMessage copies a message to the new file of the storage that it is in, or the other's.
func (s *Storage) copyMessage(m *move, dir *index.Dir, fd int, e *entry, other bool) error {
	if other {
		dir = s.otherDir(dir)
	}
	to, err := m.file(s, dir)
	if err != nil {
		return err
	}
	at := to.end
	if err := to.writeFrom(fd, int64(e.at.offset), int64(e.at.size)); err != nil {
		return err
	}
	m.moved = append(m.moved, movedTo{uid: e.uid, to: to, at: place{offset: uint32(at), size: e.at.size}})
	return nil
}

// keepUnknown keeps complete messages in a part of a file of which the map says
// nothing: a writer was killed before it did, or the map is not what it was.
func keepUnknown(fd int, h *dbox.FileHeader, at, end int64, keep func(at, size int64) error) error {
	for at < end {
		m, err := dbox.ReadStored(fdReader(fd), h, at, end)
		if errors.Is(err, dbox.ErrCorrupt) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := keep(at, m.End-at); err != nil {
			return err
		}
		at = m.End
	}
	return nil
}

// enterMoved makes the transaction of the map for a file that was rewritten, and
// removes that.
func (s *Storage) enterMoved(ctx context.Context, g Generation, dir *index.Dir, id uint32, m *move) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.ix.Load(); err != nil {
		return err
	}
	if s.generation() != g {
		return errBusy
	}
	t := tableOf(s.ix.State())
	for _, uid := range m.dead {
		if e, _ := t.find(uid); e.refs != 0 {
			return errBusy
		}
	}
	err := s.recordMoved(m)
	if err == nil {
		err = s.commit()
	}
	s.tx.Reset()
	if err != nil {
		return err
	}
	files := m.files
	m.files = nil // they are not to be removed any more
	for _, t := range files {
		defer t.close()
	}
	if s.opt.Fsync.Saves() {
		// The old file must not go before.
		log := s.ix.Log()
		defer log.Close()
		for _, t := range files {
			if err := commit.Dir(t.dir.FD); err != nil {
				return err
			}
		}
		if err := log.Flush(); err != nil {
			return err
		}
	}
	// While the map is locked: who rebuilds must not find the messages twice. Whoever
	// has the file open reads on; others find the messages by the map.
	if err := dir.Remove(fileName(id)); err != nil {
		return err
	}
	s.removeAttachments(m.refs)
	return nil
}

// removeAttachments removes those of messages that are gone.
func (s *Storage) removeAttachments(refs []attachment.Ref) {
	if len(refs) == 0 || s.opt.Attachments == nil {
		return
	}
	if err := s.opt.Attachments.RemoveAll(refs, ""); err != nil {
		s.opt.Log.Errorf("mdbox storage %s: %v", s.opt.Dir, err)
	}
}

func (s *Storage) recordMoved(m *move) error {
	if len(m.files) > 0 {
		h := mapHeaderOf(s.ix.State())
		for _, t := range m.files {
			if err := s.name(t.appendFile, t.dir, &h.highest); err != nil {
				return err
			}
		}
		s.tx.Intro(&extMap)
		s.tx.ExtHeader(0, binary.LittleEndian.AppendUint32(nil, h.highest))
		if len(m.moved) > 0 {
			s.recordPlaces(m.moved)
		}
	}
	dead := make([]index.Expunged, len(m.dead))
	slices.Sort(m.dead)
	for i, uid := range m.dead {
		dead[i].UID = uid
	}
	if len(dead) > 0 {
		s.tx.Expunge(dead)
	}
	return nil
}

// recordPlaces records the new places of messages.
func (s *Storage) recordPlaces(moved []movedTo) {
	slices.SortFunc(moved, func(a, b movedTo) int { return cmp.Compare(a.uid, b.uid) })
	uids := make([]uint32, 0, len(moved))
	var data []byte
	for i := range moved {
		at := moved[i].at
		at.file = moved[i].to.id
		uids = append(uids, moved[i].uid)
		data = at.append(data)
	}
	s.tx.ExtRecords(uids, mapRecordSize, data)
}
