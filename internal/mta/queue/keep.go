package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// The keeper prepares the next segment and gives up those that hold nothing
// needed. It is one goroutine: segments are given up one after the other.
type keeper struct {
	work chan struct{}
	quit chan struct{}
	done chan struct{}

	tight atomic.Bool // there was no room for a segment of full size

	mu     sync.Mutex
	spares []string // names of files to be used again
}

func (k *keeper) init() {
	k.work = make(chan struct{}, 1)
	k.quit = make(chan struct{})
	k.done = make(chan struct{})
}

func (k *keeper) wake() {
	select {
	case k.work <- struct{}{}:
	default:
	}
}

func (k *keeper) stop() {
	close(k.quit)
	<-k.done
}

func (k *keeper) takeSpare() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.spares) == 0 {
		return ""
	}
	name := k.spares[len(k.spares)-1]
	k.spares = k.spares[:len(k.spares)-1]
	return name
}

func (k *keeper) wantsSpare(limit int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.spares) < limit
}

func (k *keeper) addSpare(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spares = append(k.spares, name)
}

func (s *Store) keepLoop() {
	defer close(s.keep.done)
	for {
		select {
		case <-s.keep.quit:
			return
		case <-s.keep.work:
		}
		if err := s.keepHouse(); err != nil {
			s.log.Warningf("mail queue: %v", err)
		}
	}
}

func (s *Store) keepHouse() error {
	err := s.flushOutcomes()
	for seg := s.next(); seg != nil; seg = s.next() {
		if e := s.empty(seg); e != nil {
			return errors.Join(err, e)
		}
		done, e := s.giveUp(seg)
		if e != nil {
			return errors.Join(err, e)
		}
		if !done {
			break // in use for a moment; whoever uses it wakes the keeper
		}
	}
	if s.keep.tight.Load() {
		err = errors.Join(err, s.punchAll())
	}
	return errors.Join(err, s.prepareNext())
}

// flushOutcomes makes outcomes durable when no commit came to do it, and
// writes those for which there was no room.
func (s *Store) flushOutcomes() error {
	t := &s.tail
	t.mu.Lock()
	many, lost := len(t.unsynced) > maxUnsynced, len(t.lost) > 0
	t.mu.Unlock()
	if lost {
		t.turn.Lock()
		t.mu.Lock()
		s.goOn()
		t.mu.Unlock()
		t.turn.Unlock()
	}
	if many || lost {
		return s.syncTail()
	}
	return nil
}

// prepareNext has the next segment ready before it is needed.
func (s *Store) prepareNext() error {
	t := &s.tail
	t.mu.Lock()
	if t.spare != nil || t.seg == nil {
		t.mu.Unlock()
		return nil
	}
	seq := t.seq
	t.seq++
	t.mu.Unlock()
	seg, err := s.prepare(seq, s.lim.segment, s.keep.takeSpare())
	s.keep.tight.Store(err != nil && noSpace(err))
	if err != nil && noSpace(err) {
		return nil // it is for a commit to fail, if it comes to that
	}
	if err != nil {
		return fmt.Errorf("prepare %s: %w", fileName(seq, ".seg"), err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spare = seg
	if t.seg != nil && t.seg.seq > seq {
		// The committer could not wait.
		s.skipSpare()
	}
	return nil
}

// next returns the segment to be given up: one that is condemned, one in which
// nothing is needed, or, if much more space is taken than used, the one with
// the least alive.
func (s *Store) next() *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *segment
	var size, live int64
	for _, seg := range s.segments {
		size += seg.size
		live += seg.live
		if !seg.sealed || seg.readers > 0 || seg.stuck {
			continue
		}
		if seg.condemned || seg.count == 0 {
			return seg
		}
		if best == nil || seg.live*best.size < best.live*seg.size {
			best = seg
		}
	}
	slack := s.lim.slack
	if s.keep.tight.Load() {
		slack = 0
	}
	if best == nil || size < 2*live+slack || best.live > best.size/2 {
		return nil
	}
	if free, err := s.disk.free(); err != nil || free < 2*best.live {
		return nil // what is moved needs room first
	}
	return best
}

// empty moves what is needed in seg to the end of the log.
func (s *Store) empty(seg *segment) error {
	s.mu.Lock()
	seg.moved = true
	var messages, states []*entry
	for _, e := range s.index {
		if e.at.seg == seg {
			messages = append(messages, e)
		}
		if e.hasStateIn(seg) {
			states = append(states, e)
		}
	}
	s.mu.Unlock()
	if len(messages)+len(states) == 0 {
		return nil
	}
	var err error
	for _, e := range messages {
		err = errors.Join(err, s.move(e, seg))
	}
	for _, e := range states {
		err = errors.Join(err, s.restate(e))
	}
	err = errors.Join(err, s.settled())
	if err != nil {
		seg.stuck = !errors.Is(err, ErrNoSpace) && !errors.Is(err, ErrSync)
		return fmt.Errorf("empty %s: %w", seg.name, err)
	}
	return nil
}

func (e *entry) hasStateIn(seg *segment) bool {
	if e.state.seg == seg {
		return true
	}
	for _, p := range e.partial {
		if p.seg == seg {
			return true
		}
	}
	return false
}

// move commits a message again.
func (s *Store) move(e *entry, from *segment) error {
	s.mu.Lock()
	p := e.at
	if e.flags&entryDead != 0 || p.seg != from {
		s.mu.Unlock()
		return nil
	}
	from.readers++
	s.mu.Unlock()
	h, b, err := p.read(nil, int64(p.len))
	s.mu.Lock()
	from.readers--
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("move %s: %w", e.id, err)
	}
	body := b[headerSize+h.head:][:h.body]
	if checksum(body) != h.bodyCRC {
		// Moved as it is: it is for delivery to say what is wrong with it.
		s.log.Errorf("mail queue: %s: content is damaged in %s", e.id, from.name)
	}
	return s.commit(&commit{
		e: e, kind: h.kind, moved: true,
		head: b[:headerSize+h.head], body: [][]byte{body}, size: int64(h.body), crc: h.bodyCRC,
	})
}

// restate writes all that is known of a message's recipients anew.
func (s *Store) restate(e *entry) error {
	m, err := s.Load(e.id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.recordState(m, stateFull, m.told())
	return nil
}

// giveUp takes a segment in which nothing is needed out of use. What it says
// about other segments that still exist is written anew first. It reports
// false if the segment is needed after all.
func (s *Store) giveUp(seg *segment) (bool, error) {
	s.mu.Lock()
	busy := seg.count > 0 || seg.readers > 0
	serials, cuts := s.needed(seg)
	s.mu.Unlock()
	if busy {
		return false, nil
	}
	if err := s.carry(serials, cuts); err != nil {
		return false, err
	}
	s.mu.Lock()
	for i, other := range s.segments {
		if other == seg {
			s.segments = append(s.segments[:i], s.segments[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	seg.f.Close()
	return true, s.retire(seg)
}

// retire keeps the file of a segment for use again, or removes it.
func (s *Store) retire(seg *segment) error {
	if seg.size != s.lim.segment || seg.condemned || !s.keep.wantsSpare(s.lim.spares) {
		return errors.Join(s.disk.remove(seg.name), s.disk.sync())
	}
	spare := fileName(seg.seq, ".spare")
	if err := errors.Join(s.disk.rename(seg.name, spare), s.disk.sync()); err != nil {
		return err
	}
	// Only now: whoever takes it renames it again.
	s.keep.addSpare(spare)
	return nil
}

// needed returns, by segment, the messages that seg says are finished and that
// other segments still hold, and the segments that it says are cut. The caller
// holds the lock.
func (s *Store) needed(seg *segment) (map[uint64][]uint64, []cut) {
	if len(seg.tombs)+len(seg.cuts) == 0 {
		return nil, nil
	}
	exists := make(map[uint64]bool, len(s.segments))
	for _, other := range s.segments {
		exists[other.seq] = other != seg
	}
	serials := make(map[uint64][]uint64)
	for _, t := range seg.tombs {
		if exists[t.seq] {
			serials[t.seq] = append(serials[t.seq], t.serial)
		}
	}
	var cuts []cut
	for _, c := range seg.cuts {
		if exists[c.seq] {
			cuts = append(cuts, c)
		}
	}
	return serials, cuts
}

// carry writes removed and cut records anew.
func (s *Store) carry(serials map[uint64][]uint64, cuts []cut) error {
	if len(serials)+len(cuts) == 0 {
		return nil
	}
	for _, c := range cuts {
		s.record(outcome{kind: kindCut, head: appendCut(nil, c)})
	}
	for seq, list := range serials {
		const most = 8192 // serials in one record
		for len(list) > 0 {
			n := min(len(list), most)
			body := make([]byte, 0, 8*n)
			for _, serial := range list[:n] {
				body = binary.LittleEndian.AppendUint64(body, serial)
			}
			s.record(outcome{kind: kindRemoved, body: body, about: seq})
			list = list[n:]
		}
	}
	return s.settled()
}

// settled makes all outcomes durable. It fails if some are in memory only.
func (s *Store) settled() error {
	if err := s.syncTail(); err != nil {
		return err
	}
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if len(s.tail.lost) > 0 {
		return fmt.Errorf("%w: delivery status is in memory only", ErrNoSpace)
	}
	return nil
}
