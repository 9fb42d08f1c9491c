package mdbox

import (
	"context"
	"errors"
)

// An Expunge is references being given back. The map is locked until End.
type Expunge struct {
	s    *Storage
	uids []uint32 // given back, but the log's tail is still before that
}

// BeginExpunge locks the map, before the mailbox is locked.
func (s *Storage) BeginExpunge(ctx context.Context) (*Expunge, error) {
	s.mu.Lock()
	for try := 0; ; try++ {
		err := s.lock(ctx)
		if err == nil {
			return &Expunge{s: s}, nil
		}
		if !errors.Is(err, errRebuilt) || try == maxRounds {
			s.mu.Unlock()
			return nil, err
		}
	}
}

// Unref gives the references back that messages of the mailbox have, which is about
// to expunge them. The tail of the map's log stays behind: if the process is killed
// before both logs say the same, the references are counted anew.
func (e *Expunge) Unref(mapUIDs []uint32) error {
	s := e.s
	if err := s.ix.Load(); err != nil {
		return err
	}
	t := tableOf(s.ix.State())
	left := make(map[uint32]uint16, len(mapUIDs))
	for _, uid := range mapUIDs {
		if _, ok := left[uid]; !ok {
			have, _ := t.find(uid)
			left[uid] = have.refs
		}
		if left[uid] == 0 {
			s.opt.Log.Errorf("mdbox storage %s: map uid %d has no reference left to give back", s.opt.Dir, uid)
			continue
		}
		left[uid]--
		e.uids = append(e.uids, uid)
	}
	if len(e.uids) == 0 {
		return nil
	}
	s.tx.Intro(&extRef)
	s.tx.ExtAdd(e.uids, -1)
	err := s.ix.CommitOpen(&s.tx)
	s.tx.Reset()
	if err != nil {
		e.uids = nil
	}
	return err
}

// End unlocks the map. expunged tells whether the mailbox's log says that the
// messages are gone; if not, the references are taken again.
func (e *Expunge) End(expunged bool) {
	s := e.s
	defer s.mu.Unlock()
	defer s.unlock()
	var err error
	switch {
	case len(e.uids) == 0:
	case expunged:
		err = s.ix.AdvanceTail()
	default:
		s.tx.Intro(&extRef)
		s.tx.ExtAdd(e.uids, 1)
		err = s.commit()
	}
	if err != nil {
		// The next to lock the map counts all references.
		s.opt.Log.Errorf("mdbox storage %s: %v", s.opt.Dir, err)
	}
}
