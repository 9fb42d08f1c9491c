package queue

import "errors"

// On a full disk there may be no room to empty a segment into. What helps then
// is to give back the blocks under the contents of finished messages, which
// needs no room. The records themselves stay, so the reader does not notice.

// punchAll gives back what it can in all segments that are not written anymore.
func (s *Store) punchAll() error {
	var todo []*segment
	s.mu.Lock()
	for _, seg := range s.segments {
		// Not again before a quarter of what was alive is dead.
		if seg.sealed && !seg.condemned && (seg.punched == 0 || seg.live < seg.punched*3/4) {
			seg.readers++
			seg.punched = max(seg.live, 1)
			todo = append(todo, seg)
		}
	}
	s.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	var err error
	for _, seg := range todo {
		if err == nil {
			err = s.punch(seg)
		}
		s.mu.Lock()
		seg.readers--
		s.mu.Unlock()
	}
	return err
}

// punch gives back the blocks under contents of which no message is alive at
// a place of seg.
func (s *Store) punch(seg *segment) error {
	alive := s.aliveIn(seg)
	// That the others are finished must be durable before their content goes.
	if err := s.settled(); err != nil {
		return err
	}
	sc := newScanner(seg.f, seg.tag, seg.size)
	for {
		rec, err := sc.next()
		if errors.Is(err, errEnd) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.kind != kindMessage || alive[uint32(rec.off)] {
			continue
		}
		from := align(rec.bodyAt(), blockSize)
		to := (rec.off + rec.size()) &^ (blockSize - 1)
		if from >= to {
			continue
		}
		if err := seg.f.punch(from, to-from); err != nil {
			return err
		}
	}
}

// aliveIn returns where messages lie in seg. It errs on the safe side: those
// that are finished meanwhile are among them.
func (s *Store) aliveIn(seg *segment) map[uint32]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	alive := make(map[uint32]bool)
	for _, e := range s.index {
		if e.at.seg == seg {
			alive[e.at.off] = true
		}
	}
	return alive
}
