package mdbox

import (
	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

// journaled is the part of the map's log that is durable, or recorded in the journal.
type journaled struct {
	log index.Log // open as long as it is noted
	end int64
}

// Journal returns the journal that the storage uses; nil for none. What a mailbox is told of
// is durable when it has been synced.
func (s *Storage) Journal() *journal.Journal { return s.journal }

// recordMessages makes what a round has written into files durable by the journal. New files
// are flushed instead: they have no name yet.
func (r *round) recordMessages() error {
	j := r.s.journal
	r.recorded = true
	for _, f := range r.files {
		if f.id == 0 || f.end-f.start > journal.MaxData || !inPlace(r.s.dir) {
			if err := commit.Data(f.fd); err != nil {
				return err
			}
			continue
		}
		err := j.Data(&journal.Range{Dir: r.s.dir.Path, Name: fileName(f.id), FD: f.fd, From: f.start, To: f.end})
		if err != nil {
			return err
		}
	}
	return j.Sync()
}

// recordMap records what the map's log says that is not durable or recorded yet. It is durable when
// the mailbox's log is, which is recorded later.
func (s *Storage) recordMap(log index.Log, newFile bool) error {
	was, end := &s.journaled, s.ix.State().LogEnd()
	if newFile || !was.log.Is(log) || !inPlace(s.mapDir) {
		err := s.flushAll(log, newFile)
		if err == nil {
			err = commit.Data(s.mapDir.FD)
		}
		if err == nil {
			was.log.Close()
			*was = journaled{log.Clone(), end}
		}
		return err
	}
	err := s.journal.Data(&journal.Range{
		Dir: s.mapDir.Path, Name: mapLogName, FD: log.FD(), From: was.end, To: end, Log: true,
	})
	if err == nil {
		was.end = end
	}
	return err
}

// inPlace tells whether a directory still has the name by which it was opened.
func inPlace(d *index.Dir) bool {
	var st unix.Stat_t
	return unix.Stat(d.Path, &st) == nil && d.Is(&st)
}
