package mdbox

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

// journaled is the part of the map's log that is durable, or recorded in the journal.
type journaled struct {
	log  index.Log // open as long as it is noted
	file journal.File
	end  int64
}

// Journal returns the journal that the storage uses; nil for none. What a mailbox is told of
// is durable when it has been synced.
func (s *Storage) Journal() *journal.Journal { return s.journal }

// recordable tells whether changes of the map can be in the journal before they are in its log. The map
// is locked.
func (s *Storage) recordable() bool {
	if s.journal == nil || !s.opt.Fsync.Saves() {
		return false
	}
	log := s.ix.Log()
	defer log.Close()
	return s.journaled.log.Is(log) && inPlace(s.dir) && (s.mapDir == s.dir || inPlace(s.mapDir))
}

// inPlace tells whether a directory still has the name by which it was opened.
func inPlace(d *index.Dir) bool {
	var st unix.Stat_t
	return unix.Stat(d.Path, &st) == nil && d.Is(&st)
}

// recordMessages has the journal know of a part of an m.N. New files are flushed instead, which have no
// name yet, and so is what is large.
func (r *round) recordMessages(f *appendFile, from, to int64, b [][]byte) error {
	if r.s.journal == nil || !r.s.opt.Fsync.Saves() {
		return nil
	}
	if f.id == 0 || to-from > journal.MaxData || !r.direct && !inPlace(r.s.dir) {
		f.unrecorded = true
		return nil
	}
	r.recorded = true
	part := r.messages(f, from)
	part.To, part.Bytes = to, b
	return r.s.journal.Data(part)
}

// messages is what is in an m.N from some offset on.
func (r *round) messages(f *appendFile, from int64) *journal.Range {
	return &journal.Range{Dir: r.s.dir.Path, Name: fileName(f.id), FD: f.fd, File: &f.file, From: from}
}

// flushUnrecorded has the messages on disk, except those that are going to be with the next sync of the
// journal.
func (r *round) flushUnrecorded() error {
	for _, f := range r.files {
		if !f.unrecorded {
			continue
		}
		r.direct = r.direct && f.id != 0
		if err := commit.Data(f.fd); err != nil {
			return sysError("fdatasync", r.s.dir.File(f.temp+fileName(f.id)), err)
		}
	}
	if r.direct {
		return nil
	}
	_, err := r.syncJournal()
	return err
}

// syncJournal has the messages of the round on disk, by the journal or, if that was not up to it, by
// themselves: kept is false then.
func (r *round) syncJournal() (kept bool, err error) {
	if err := r.s.journal.Sync(); err != nil {
		return false, err
	}
	if r.hold.Kept() {
		return true, nil
	}
	for _, f := range r.files {
		if err := commit.Data(f.fd); err != nil {
			return false, sysError("fdatasync", r.s.dir.File(f.temp+fileName(f.id)), err)
		}
	}
	return false, nil
}

// enterDirect has the mailboxes take their messages, and writes the transaction of the map when the first
// of them is ready for it: then the journal is synced, once for all.
func (r *round) enterDirect(ctx context.Context) error {
	s := r.s
	defer s.tx.Reset()
	p, err := s.ix.Prepare(&s.tx)
	begin := s.ix.State().LogEnd()
	if err == nil {
		err = s.recordTx(begin, p.Bytes())
	}
	if err != nil {
		r.discard()
		return err
	}
	written := false
	ready := func() (kept bool, _ error) {
		if err == nil {
			kept, err = r.syncJournal()
		}
		if err == nil && !written {
			err = s.ix.Append(p)
			written = err == nil
		}
		if err == nil && !kept {
			s.journaled.end = begin // again, now that it is in the file
			err = s.recordLog(s.ix.State().LogEnd())
		}
		return kept, err
	}
	r.add(ctx, ready)
	if !written {
		ready() //nolint:errcheck // it is in err
	}
	if !written {
		s.takeBack(begin)
		r.discard()
		return err
	}
	r.keepLast()
	s.tx.Reset()
	r.giveBack()
	return nil
}

// recordTx records a transaction that will be appended to the map's log at its end, and what is there
// already and not recorded.
func (s *Storage) recordTx(end int64, b []byte) error {
	was := &s.journaled
	if err := s.recordLog(end); err != nil {
		return err
	}
	part := s.logRange(end)
	part.To, part.Bytes = end+int64(len(b)), [][]byte{b}
	err := s.journal.Data(part)
	if err == nil {
		was.end = part.To
	}
	return err
}

// recordLog records what the map's log has up to end.
func (s *Storage) recordLog(end int64) error {
	was := &s.journaled
	if was.end >= end {
		return nil
	}
	part := s.logRange(was.end)
	part.To = end
	err := s.journal.Data(part)
	if err == nil {
		was.end = end
	}
	return err
}

// logRange is what is in the map's log from some offset on.
func (s *Storage) logRange(from int64) *journal.Range {
	was := &s.journaled
	return &journal.Range{Dir: s.mapDir.Path, Name: mapLogName, FD: was.log.FD(), File: &was.file, From: from, Log: true}
}

// takeBack takes back what was recorded of the map's log and not written.
func (s *Storage) takeBack(from int64) {
	s.journaled.end = from
	if s.journal.Cut(s.logRange(from)) != nil {
		s.distrust = true
	}
}

// recordMap records what the map's log says that is not durable or recorded yet. It is durable when
// the mailbox's log is, which is recorded later.
func (s *Storage) recordMap(log index.Log, newFile bool) error {
	was, end := &s.journaled, s.ix.State().LogEnd()
	if !newFile && was.log.Is(log) && inPlace(s.mapDir) {
		return s.recordLog(end)
	}
	err := s.flushAll(log, newFile)
	if err == nil {
		err = commit.Dir(s.mapDir.FD)
	}
	if err == nil {
		was.log.Close()
		*was = journaled{log: log.Clone(), end: end}
	}
	return err
}
