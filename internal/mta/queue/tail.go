package queue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
)

// The tail is the end of the log, where records are appended. Whoever appends
// holds mu while writing, so records reach the file in the order of their
// places. Whoever syncs or changes the segment holds turn besides, taken
// first: an error of fdatasync(2) is reported only once, to one caller.
type tail struct {
	turn sync.Mutex

	mu       sync.Mutex
	seg      *segment // being written; nil before the first record
	spare    *segment // prepared to be the next
	seq      uint64   // of the next segment
	unsynced []outcome
	lost     []outcome // not written for want of space
	cuts     []cut     // to be written at the beginning of the next segment
	vec      [][]byte
	scratch  []byte
}

// maxUnsynced is the number of outcomes that wait for the next commit to make
// them durable, before that is done without one.
const maxUnsynced = 10000

// An outcome is a state or removed record that is not known to be durable.
type outcome struct {
	e    *entry
	kind kind
	head []byte
	// A removed record without e lists in body finished messages of the
	// segment with number about.
	body  []byte
	about uint64
	at    place
}

// randomTag returns the tag of a new segment.
func randomTag() uint64 {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// prepare makes a segment ready to be written: full size, head durable, under
// its final name. It uses a spare file if one is given.
func (s *Store) prepare(seq uint64, size int64, spare string) (*segment, error) {
	name := fileName(seq, ".seg")
	from := spare
	if from == "" {
		from = fileName(seq, ".spare")
	}
	f, err := s.disk.create(from, size)
	if err != nil {
		s.disk.remove(from) //nolint:errcheck // the first error counts
		return nil, err
	}
	s.mu.Lock()
	serial := s.serial
	s.mu.Unlock()
	seg := &segment{seq: seq, tag: randomTag(), name: name, f: f, size: size, pos: blockSize, synced: blockSize}
	err = f.writev([][]byte{putSegmentHead(seq, seg.tag, serial)}, 0)
	if err == nil {
		err = f.sync()
	}
	if err == nil {
		err = s.disk.rename(from, name)
	}
	if err == nil {
		err = s.disk.sync()
	}
	if err != nil {
		f.Close()
		s.disk.remove(from) //nolint:errcheck // the first error counts
		return nil, err
	}
	return seg, nil
}

// prepareAny is prepare for a full disk: it makes do with less than size, as
// long as need bytes have room.
func (s *Store) prepareAny(seq uint64, size, need int64) (*segment, error) {
	least := max(s.lim.segment/16, align(blockSize+need+s.lim.reserve, blockSize))
	for {
		seg, err := s.prepare(seq, size, s.keep.takeSpare())
		if err != nil && noSpace(err) || size < s.lim.segment {
			s.keep.tight.Store(true)
			s.keep.wake()
		}
		if err == nil || !noSpace(err) || size/2 < least {
			return seg, err
		}
		size = align(size/2, blockSize)
	}
}

// roll begins a new segment that has room for need bytes. The caller holds
// turn and mu.
func (s *Store) roll(need int64) error {
	t := &s.tail
	next := t.spare
	size := max(s.lim.segment, align(blockSize+need+s.lim.reserve, blockSize))
	if next != nil && next.size >= size {
		t.spare = nil
	} else {
		var err error
		if next, err = s.prepareAny(t.seq, size, need); err != nil {
			return spaceError(err)
		}
		t.seq++
		s.skipSpare()
	}
	if t.seg != nil {
		s.finish(t.seg)
	}
	t.seg = next
	s.mu.Lock()
	s.segments = append(s.segments, next)
	s.mu.Unlock()
	s.keep.wake()
	return s.beginSegment()
}

// skipSpare gives the prepared segment back: numbers only grow. The caller
// holds mu.
func (s *Store) skipSpare() {
	seg := s.tail.spare
	if seg == nil {
		return
	}
	s.tail.spare = nil
	seg.sealed = true
	s.mu.Lock()
	s.segments = append(s.segments, seg)
	s.mu.Unlock()
}

// finish ends the use of a segment whose tail may not be durable.
func (s *Store) finish(seg *segment) {
	t := &s.tail
	if seg.pos > seg.synced && !seg.condemned {
		if err := seg.f.sync(); err != nil {
			s.condemn(seg, seg.synced, err)
			return
		}
		seg.synced = seg.pos
	}
	t.unsynced = t.unsynced[:0]
	s.mu.Lock()
	seg.sealed = true
	s.mu.Unlock()
}

var errCondemned = errors.New("an earlier write failed")

// condemn gives up a segment on which a write or sync failed: it counts only
// up to end, and is not written or synced anymore. The caller holds mu and,
// once it holds turn too, calls goOn.
func (s *Store) condemn(seg *segment, end int64, cause error) {
	s.log.Errorf("mail queue: write %s: %v; continuing on another file", seg.name, cause)
	t := &s.tail
	t.cuts = append(t.cuts, cut{seg.seq, end})
	t.lost = append(t.lost, t.unsynced...)
	t.unsynced = nil
	if t.seg == seg {
		t.seg = nil
	}
	s.mu.Lock()
	seg.sealed = true
	seg.condemned = true
	s.mu.Unlock()
	s.keep.wake()
}

// goOn continues after condemn. The caller holds turn and mu.
func (s *Store) goOn() {
	var err error
	if s.tail.seg == nil {
		err = s.roll(0)
	} else {
		err = s.beginSegment()
	}
	if err != nil {
		s.log.Errorf("mail queue: cannot begin another file: %v", err)
	}
}

// beginSegment writes what has waited for a new segment: outcomes that were
// lost with older ones, then how far those count.
func (s *Store) beginSegment() error {
	t := &s.tail
	for len(t.lost) > 0 {
		o := t.lost[0]
		if err := s.putOutcome(o); err != nil {
			return err
		}
		t.lost = t.lost[1:]
	}
	for len(t.cuts) > 0 {
		c := t.cuts[0]
		if err := s.putOutcome(outcome{kind: kindCut, head: appendCut(nil, c)}); err != nil {
			return err
		}
		t.cuts = t.cuts[1:]
	}
	return nil
}

// putOutcome writes one outcome and notes where. The caller holds mu.
func (s *Store) putOutcome(o outcome) error {
	s.stamp(&o)
	at, err := s.put(o.kind, o.serial(), o.head, o.body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.settle(&o, at)
	s.mu.Unlock()
	s.tail.unsynced = append(s.tail.unsynced, o)
	return nil
}

func (o *outcome) serial() uint64 {
	if o.e == nil {
		return 0
	}
	return o.e.serial
}

// put writes one small record at the end of the log. The caller holds mu.
func (s *Store) put(k kind, serial uint64, head, body []byte) (place, error) {
	t := &s.tail
	seg := t.seg
	h := header{tag: seg.tag, serial: serial, kind: k, head: uint32(len(head)), body: uint32(len(body)), bodyCRC: checksum(body)}
	n := h.size()
	if seg.pos+n > seg.size {
		return place{}, ErrNoSpace
	}
	b := t.scratch[:0]
	b = append(b, make([]byte, headerSize)...)
	b = append(b, head...)
	h.put(b)
	b = append(b, body...)
	b = append(b, zeros[:n-int64(len(b))]...)
	// Whole blocks, so that no old block has to be read first. In the middle of
	// one, the record before has seen to that.
	if end := align(seg.pos, blockSize); seg.pos+n > end || seg.pos == end {
		b = append(b, zeros[:min(align(seg.pos+n, blockSize), seg.size)-seg.pos-n]...)
	}
	t.scratch = b
	t.vec = append(t.vec[:0], b)
	if err := seg.f.writev(t.vec, seg.pos); err != nil {
		s.condemn(seg, seg.pos, err)
		return place{}, fmt.Errorf("%w: %w", ErrSync, err)
	}
	at := place{seg: seg, off: uint32(seg.pos), len: uint32(n)}
	seg.pos += n
	return at, nil
}

// record appends an outcome to the log, so that it survives this process. It
// becomes durable with the next sync. On a full disk it is kept in memory
// until there is room.
func (s *Store) record(o outcome) {
	s.recordAll([]outcome{o})
}

func (s *Store) recordAll(list []outcome) {
	t := &s.tail
	t.mu.Lock()
	list = s.recordLocked(list)
	many := len(t.unsynced) > maxUnsynced
	t.mu.Unlock()
	if many {
		s.keep.wake()
	}
	if len(list) == 0 {
		return
	}
	// A new segment is needed.
	t.turn.Lock()
	defer t.turn.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(list) > 0 {
		n := len(list)
		list = s.recordLocked(list)
		if len(list) == 0 {
			return
		}
		if len(list) == n || t.seg == nil {
			if err := s.roll(list[0].size()); err != nil {
				s.log.Warningf("mail queue: cannot write delivery status, keeping it in memory: %v", err)
				t.lost = append(t.lost, list...)
				return
			}
		}
	}
}

func (o *outcome) size() int64 {
	return align(headerSize+int64(len(o.head)+len(o.body)), 8)
}

// recordLocked writes the outcomes for which the segment has room and returns
// the others. The caller holds mu.
func (s *Store) recordLocked(list []outcome) []outcome {
	for len(list) > 0 {
		if s.tail.seg == nil || s.putOutcome(list[0]) != nil {
			return list
		}
		list = list[1:]
	}
	return nil
}

// stamp brings the flags of a state record up to date, so that the last record
// in the log has those of the index.
func (s *Store) stamp(o *outcome) {
	if o.kind != kindState {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o.head[0] = o.head[0]&stateFull | o.e.stateFlags()
	binary.LittleEndian.PutUint64(o.head[1:], uint64(o.e.next))
}

// settle notes in the index that an outcome has its record at a place. The
// caller holds the store's lock.
func (s *Store) settle(o *outcome, at place) {
	old := o.at
	o.at = at
	e := o.e
	switch o.kind {
	case kindRemoved:
		s.entomb(o, at.seg)
		return
	case kindCut:
		if c, err := parseCut(o.head); err == nil {
			at.seg.cuts = append(at.seg.cuts, c)
		}
		return
	}
	if e.flags&entryDead != 0 {
		return
	}
	switch {
	case old.seg != nil && e.state == old:
		old.drop()
		e.state = at
	case old.seg != nil:
		for i, p := range e.partial {
			if p == old {
				p.drop()
				e.partial[i] = at
				at.take()
				return
			}
		}
		return // outdated meanwhile
	case o.head[0]&stateFull != 0:
		e.state.drop()
		for _, p := range e.partial {
			p.drop()
		}
		e.partial = nil
		e.state = at
	default:
		e.partial = append(e.partial, at)
	}
	at.take()
}

// entomb notes that seg says that messages of other segments are finished. The
// caller holds the store's lock.
func (s *Store) entomb(o *outcome, seg *segment) {
	if o.e == nil {
		for b := o.body; len(b) >= 8; b = b[8:] {
			seg.tombs = append(seg.tombs, tomb{o.about, binary.LittleEndian.Uint64(b)})
		}
		return
	}
	for _, other := range s.segments {
		if other != seg && (other == o.e.at.seg || other.moved) {
			seg.tombs = append(seg.tombs, tomb{other.seq, o.e.serial})
		}
	}
}

// syncTail makes durable what was recorded so far.
func (s *Store) syncTail() error {
	t := &s.tail
	t.turn.Lock()
	defer t.turn.Unlock()
	t.mu.Lock()
	seg := t.seg
	t.mu.Unlock()
	if seg == nil {
		return nil
	}
	return s.syncSegment(seg)
}

// syncSegment makes durable what was written to seg so far. The caller holds
// turn.
func (s *Store) syncSegment(seg *segment) error {
	t := &s.tail
	t.mu.Lock()
	if seg.condemned {
		s.condemn(seg, seg.synced, errCondemned)
		s.goOn()
		t.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrSync, errCondemned)
	}
	if seg.pos == seg.synced {
		t.mu.Unlock()
		return nil
	}
	// What is written from here on lies on other blocks.
	end := min(align(seg.pos, blockSize), seg.size)
	seg.pos = end
	covered := len(t.unsynced)
	t.mu.Unlock()

	err := seg.f.sync()

	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		s.condemn(seg, seg.synced, err)
		s.goOn()
		return fmt.Errorf("%w: %w", ErrSync, err)
	}
	seg.synced = end
	if seg.condemned {
		// A write behind end failed meanwhile: all is in lost now.
		return nil
	}
	n := copy(t.unsynced, t.unsynced[covered:])
	clear(t.unsynced[n:])
	t.unsynced = t.unsynced[:n]
	return nil
}

// spaceError tells the want of space from other errors.
func spaceError(err error) error {
	if noSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return fmt.Errorf("%w: %w", ErrSync, err)
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
