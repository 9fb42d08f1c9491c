package queue

import (
	"fmt"
	"time"
)

// A commit is one message record on its way to the disk.
type commit struct {
	e     *entry
	kind  kind
	head  []byte   // room for the header, then the head
	body  [][]byte // content, if it lies in the record
	size  int64    // of body
	crc   uint32   // of body
	blob  *blob    // to be cached; nil if the content is large or not fresh
	moved bool     // the message is queued already, this is a new copy

	at   place
	done chan error
}

func (c *commit) recordSize() int64 {
	return align(int64(len(c.head))+c.size, 8)
}

// commit makes a message record durable and returns when it is.
func (s *Store) commit(c *commit) error {
	if c.done == nil {
		c.done = make(chan error, 1)
	}
	if err := s.gate.put(c); err != nil {
		return err
	}
	return <-c.done
}

// commitLoop is the committer.
func (s *Store) commitLoop() {
	defer close(s.gate.done)
	var batch, spare []*commit
	for {
		batch = s.gate.take(spare)
		if len(batch) == 0 {
			return
		}
		start := time.Now()
		s.commitAll(batch)
		s.gate.took(time.Since(start))
		clear(batch)
		spare = batch
	}
}

func (s *Store) commitAll(batch []*commit) {
	for len(batch) > 0 {
		n, err := s.commitSome(batch)
		s.publish(batch[:n], err)
		batch = batch[n:]
	}
}

// commitSome writes and syncs as much of the batch as fits into one write, and
// returns how much that was.
func (s *Store) commitSome(batch []*commit) (int, error) {
	s.tail.turn.Lock()
	defer s.tail.turn.Unlock()
	n, seg, err := s.writeBatch(batch)
	if err == nil {
		err = s.syncSegment(seg)
	}
	return n, err
}

// writeBatch writes as many records as fit, at least one, and returns their
// number and where they lie. The caller holds turn.
func (s *Store) writeBatch(batch []*commit) (int, *segment, error) {
	t := &s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	first := batch[0].recordSize()
	if t.seg == nil || t.seg.pos+first > t.seg.size-s.lim.reserve {
		if err := s.roll(first); err != nil {
			return len(batch), nil, err
		}
	}
	seg := t.seg
	limit := min(seg.size-s.lim.reserve, seg.pos+max(first, s.lim.batch))
	pos := seg.pos
	vec := t.vec[:0]
	n := 0
	for _, c := range batch {
		size := c.recordSize()
		if pos+size > limit {
			break
		}
		h := header{
			tag: seg.tag, serial: c.e.serial, kind: c.kind,
			head: uint32(len(c.head) - headerSize), body: uint32(c.size), bodyCRC: c.crc,
		}
		h.put(c.head)
		vec = append(vec, c.head)
		vec = append(vec, c.body...)
		if pad := size - int64(len(c.head)) - c.size; pad > 0 {
			vec = append(vec, zeros[:pad])
		}
		c.at = place{seg: seg, off: uint32(pos), len: uint32(size)}
		pos += size
		n++
	}
	// Whole blocks, so that no old block has to be read first.
	if pad := min(align(pos, blockSize), seg.size) - pos; pad > 0 {
		vec = append(vec, zeros[:pad])
	}
	t.vec = vec
	err := seg.f.writev(vec, seg.pos)
	clear(t.vec)
	if err != nil {
		s.condemn(seg, seg.pos, err)
		s.goOn()
		return n, nil, spaceError(err)
	}
	seg.pos = pos
	return n, seg, nil
}

// publish tells the index, then those who wait.
func (s *Store) publish(batch []*commit, err error) {
	var finished []*commit
	s.mu.Lock()
	for _, c := range batch {
		switch {
		case err != nil:
		case c.e.flags&entryDead != 0:
			finished = append(finished, c)
		default:
			s.enter(c)
		}
	}
	s.mu.Unlock()
	// A message that was finished while a copy of it was written: the copy
	// is dead too.
	for _, c := range finished {
		s.record(outcome{e: &entry{serial: c.e.serial, at: c.at, flags: entryDead}, kind: kindRemoved})
	}
	for _, c := range batch {
		c.done <- err
	}
}

// enter notes that a message record is durable. The caller holds the lock.
func (s *Store) enter(c *commit) {
	e := c.e
	e.at.drop()
	e.at = c.at
	e.at.take()
	if c.moved {
		return
	}
	s.index[e.id] = e
	if c.blob != nil {
		s.cache.add(e, c.blob)
	}
}

// errTooLarge is returned for an envelope that no segment takes.
func errTooLarge(n int) error {
	return fmt.Errorf("%w: envelope of %d bytes", ErrNoSpace, n)
}
