package mdbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Purge rewrites the files that contain messages without references, without
// these. Files that somebody appends to at the moment are left out.
func (s *Storage) Purge(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		return err
	}
	for _, id := range s.purgeable() {
		err := s.purgeFile(ctx, id)
		if errors.Is(err, errRebuilt) {
			return nil // nothing is left to purge that is known to be dead
		}
		if err != nil {
			return fmt.Errorf("purge mdbox file %s: %w", s.dir.File(fileName(id)), err)
		}
	}
	return nil
}

// purgeable returns the files with messages that nobody refers to.
func (s *Storage) purgeable() (ids []uint32) {
	t := s.table.Load()
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
	to   *appendFile // nil if nothing is left
	uids []uint32
	at   []place // file 0
	dead []uint32
}

// purgeFile rewrites one file. mu is held.
func (s *Storage) purgeFile(ctx context.Context, id uint32) error {
	dir, fd, err := s.openForPurge(id)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd) // and with it the lock
	if err := s.load(ctx); err != nil {
		return err
	}
	g := s.generation()
	m, err := s.copyLive(dir, fd, entriesOf(s.table.Load(), id))
	if m.to != nil {
		defer m.to.close()
	}
	if err != nil {
		if m.to != nil {
			m.to.discard(dir)
		}
		return err
	}
	return s.enterMoved(ctx, g, dir, id, m)
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

// copyLive copies what is to be kept into a new file and flushes that.
func (s *Storage) copyLive(dir *index.Dir, fd int, entries []entry) (m move, err error) {
	for i := range entries {
		if entries[i].refs == 0 {
			m.dead = append(m.dead, entries[i].uid)
		}
	}
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
		if m.to == nil {
			if m.to, err = s.create(dir); err != nil {
				return err
			}
		}
		return m.to.writeFrom(fd, at, size)
	}
	end := int64(h.Size)
	for i := range entries {
		e := &entries[i]
		if err := keepUnknown(fd, &h, end, int64(e.at.offset), keep); err != nil {
			return m, err
		}
		end = max(end, e.at.end())
		if e.refs == 0 {
			continue
		}
		if _, err := dbox.ReadStored(fdReader(fd), &h, int64(e.at.offset), e.at.end()); err != nil {
			return m, fmt.Errorf("map uid %d: %w", e.uid, err)
		}
		m.uids = append(m.uids, e.uid)
		var to int64
		if m.to != nil {
			to = m.to.end
		}
		if err := keep(int64(e.at.offset), int64(e.at.size)); err != nil {
			return m, err
		}
		to = max(to, m.to.end-int64(e.at.size))
		m.at = append(m.at, place{offset: uint32(to), size: e.at.size})
	}
	if err := keepUnknown(fd, &h, end, st.Size, keep); err != nil || m.to == nil {
		return m, err
	}
	if s.opt.Fsync.Saves() {
		err = commit.Data(m.to.fd)
	}
	return m, err
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
func (s *Storage) enterMoved(ctx context.Context, g Generation, dir *index.Dir, id uint32, m move) error {
	discard := func() {
		if m.to != nil {
			m.to.discard(dir)
		}
	}
	if err := s.lock(ctx); err != nil {
		discard()
		return err
	}
	defer s.unlock()
	if err := s.ix.Load(); err != nil {
		discard()
		return err
	}
	t := tableOf(s.ix.State())
	for _, uid := range m.dead {
		if e, _ := t.find(uid); e.refs != 0 || s.generation() != g {
			discard()
			return errors.New("a message was copied meanwhile; purge again")
		}
	}
	if err := s.recordMoved(dir, m); err != nil {
		s.tx.Reset()
		discard()
		return err
	}
	if err := s.commit(); err != nil {
		discard()
		return err
	}
	if s.opt.Fsync.Saves() {
		// The old file must not go before.
		log := s.ix.Log()
		defer log.Close()
		if err := commit.Data(dir.FD); err != nil {
			return err
		}
		if err := log.Flush(); err != nil {
			return err
		}
	}
	// While the map is locked: who rebuilds must not find the messages twice. Whoever
	// has the file open reads on; others find the messages by the map.
	return dir.Remove(fileName(id))
}

func (s *Storage) recordMoved(dir *index.Dir, m move) error {
	if m.to != nil {
		h := mapHeaderOf(s.ix.State())
		if err := m.to.name(dir, &h.highest); err != nil {
			return err
		}
		s.tx.Intro(&extMap)
		s.tx.ExtHeader(0, binary.LittleEndian.AppendUint32(nil, h.highest))
		if len(m.uids) > 0 {
			s.moved(m)
		}
	}
	dead := make([]index.Expunged, len(m.dead))
	for i, uid := range m.dead {
		dead[i].UID = uid
	}
	if len(dead) > 0 {
		s.tx.Expunge(dead)
	}
	return nil
}

// moved records the new places of messages.
func (s *Storage) moved(m move) {
	order := make([]int, len(m.uids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(int64(m.uids[a]) - int64(m.uids[b])) })
	uids := make([]uint32, 0, len(order))
	var data []byte
	for _, i := range order {
		m.at[i].file = m.to.id
		uids = append(uids, m.uids[i])
		data = m.at[i].append(data)
	}
	s.tx.ExtRecords(uids, mapRecordSize, data)
}
