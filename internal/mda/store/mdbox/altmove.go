package mdbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// An AltMessage is a message of a mailbox.
type AltMessage struct {
	Mailbox     string // whatever tells mailboxes apart
	UID, MapUID uint32
}

// AltMove moves messages to the second storage or, if back says so, from there. One that
// several mailboxes have is moved when all of its messages have been named, also in several
// calls; it comes back when one is. The rest of a file that messages leave is written to
// a new one, as by Purge.
func (s *Storage) AltMove(ctx context.Context, list []AltMessage, back bool) error {
	if s.opt.AltDir == "" {
		return nil
	}
	from, byFile, g, err := s.prepareAltMove(ctx, list, back)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(byFile)) {
		if err := s.altMoveFile(ctx, from, id, byFile[id], g); err != nil {
			return err
		}
	}
	return nil
}

// prepareAltMove returns the messages to move, by file, and the storage that they are to leave. g
// is the generation in which they have these map uids.
func (s *Storage) prepareAltMove(ctx context.Context, list []AltMessage, back bool) (from *index.Dir, byFile map[uint32]map[uint32]bool, g Generation, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = s.load(ctx); err == nil {
		err = s.makeAlt(back)
	}
	if err != nil || s.alt == nil { // nothing is there to come back
		return nil, nil, g, err
	}
	from = s.dir
	if back {
		from = s.alt
	}
	return from, s.toMove(list, back), s.generation(), nil
}

// altMoveFile moves the messages of one file. Others may use the storage before and after.
func (s *Storage) altMoveFile(ctx context.Context, from *index.Dir, id uint32, moves map[uint32]bool, g Generation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var st unix.Stat_t
	if s.generation() != g || from.Stat(fileName(id), &st) != nil {
		return nil // map uids may be others now, or the messages are where they should be
	}
	err := s.purgeFile(ctx, id, moves)
	if err != nil && !errors.Is(err, errRebuilt) {
		return fmt.Errorf("move messages of mdbox file %s: %w", from.File(fileName(id)), err)
	}
	return nil
}

// makeAlt opens the second storage, and makes it if something is to come there.
func (s *Storage) makeAlt(back bool) error {
	if s.alt == nil && !back {
		alt, err := openDir(s.opt.AltDir)
		if err == nil {
			s.setAlt(alt)
		}
		return err
	}
	return s.openAlt()
}

// toMove returns the map uids to move, by file. mu is held.
func (s *Storage) toMove(list []AltMessage, back bool) map[uint32]map[uint32]bool {
	t := s.table.Load()
	byFile := make(map[uint32]map[uint32]bool)
	for _, m := range list {
		e, ok := t.find(m.MapUID)
		if !ok || !back && !s.mark(m, int(e.refs)) {
			continue
		}
		delete(s.marked, m.MapUID)
		if byFile[e.at.file] == nil {
			byFile[e.at.file] = make(map[uint32]bool)
		}
		byFile[e.at.file][m.MapUID] = true
	}
	return byFile
}

// mark notes that a message is to be in the second storage, and reports whether all are that
// share its text.
func (s *Storage) mark(m AltMessage, refs int) bool {
	if refs <= 1 {
		return true
	}
	if s.marked == nil {
		s.marked = make(map[uint32]map[AltMessage]bool)
	}
	if s.marked[m.MapUID] == nil {
		s.marked[m.MapUID] = make(map[AltMessage]bool)
	}
	s.marked[m.MapUID][m] = true
	return len(s.marked[m.MapUID]) >= refs
}

// otherDir returns the storage that dir is not.
func (s *Storage) otherDir(dir *index.Dir) *index.Dir {
	if dir == s.dir {
		return s.alt
	}
	return s.dir
}
