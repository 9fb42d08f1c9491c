package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// A replay rebuilds the index from the segments.
type replay struct {
	s        *Store
	cuts     map[cut]bool // what counts only in part
	messages map[uint64]*replayed
	large    map[uint64]bool // files that exist
	last     uint64          // number of the last segment with records
}

// A replayed message is what was found about a serial so far.
type replayed struct {
	e       *entry     // nil until its message record is found
	copies  []*segment // where message records were found
	marks   []*segment // where removed records were found
	states  []place
	full    int  // states before this one do not count
	hasFull bool // that one is a full state
	flags   byte
	next    int64
	known   bool // flags and next are from a state record
}

// replay reads what is there and makes it ready for use.
func (s *Store) replay() error {
	names, err := s.disk.list()
	if err != nil {
		return err
	}
	r := replay{
		s:     s,
		cuts:  make(map[cut]bool),
		large: make(map[uint64]bool),
	}
	if err := r.open(names); err != nil {
		return err
	}
	if err := r.findLast(); err != nil {
		return err
	}
	if err := r.scanAll(); err != nil {
		return err
	}
	r.build()
	r.removeOrphans()
	s.keep.wake()
	return nil
}

// open opens the files.
func (r *replay) open(names []string) error {
	s := r.s
	s.serial = 1
	s.tail.seq = 1
	for _, name := range names {
		if serial, ok := parseFileName(name, ".msg"); ok {
			r.large[serial] = true
			s.serial = max(s.serial, serial+1)
			continue
		}
		if seq, ok := parseFileName(name, ".spare"); ok {
			s.tail.seq = max(s.tail.seq, seq+1)
			if s.keep.wantsSpare(s.lim.spares) {
				s.keep.addSpare(name)
			} else {
				s.disk.remove(name) //nolint:errcheck // tried again at the next start
			}
			continue
		}
		if seq, ok := parseFileName(name, ".seg"); ok {
			s.tail.seq = max(s.tail.seq, seq+1)
			if err := r.openSegment(seq, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		if strings.HasSuffix(name, ".seg") {
			s.log.Warningf("mail queue: file %s is not ours, left alone", name)
		}
	}
	sort.Slice(s.segments, func(i, j int) bool { return s.segments[i].seq < s.segments[j].seq })
	return nil
}

func (r *replay) openSegment(seq uint64, name string) error {
	s := r.s
	f, err := s.disk.open(name)
	if err != nil {
		return err
	}
	size, err := f.size()
	if err != nil {
		f.Close()
		return err
	}
	seg := &segment{seq: seq, name: name, f: f, size: size, sealed: true}
	s.segments = append(s.segments, seg)
	b := make([]byte, segmentHead)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	headSeq, tag, serial, ok := parseSegmentHead(b)
	if !ok || headSeq != seq {
		// Its head is durable before its name is, so this is damage.
		s.log.Errorf("mail queue: %s: the first block is damaged, its messages are lost", name)
		seg.size, seg.stuck = 0, true
		return nil
	}
	seg.tag = tag
	s.serial = max(s.serial, serial)
	return nil
}

// findLast finds the last segment with records: the one whose end may be torn.
func (r *replay) findLast() error {
	for i := len(r.s.segments) - 1; i >= 0; i-- {
		seg := r.s.segments[i]
		_, err := newScanner(seg.f, seg.tag, seg.size).next()
		if err == nil {
			r.last = seg.seq
			return nil
		}
		if !errors.Is(err, errEnd) {
			return fmt.Errorf("%s: %w", seg.name, err)
		}
	}
	return nil
}

// scanAll reads all records. Where one of them says that an earlier segment
// counts only in part, which is rare, it begins anew with that knowledge.
func (r *replay) scanAll() error {
	for {
		known := len(r.cuts)
		r.messages = make(map[uint64]*replayed)
		for _, seg := range r.s.segments {
			seg.cuts = nil
			if err := r.scan(seg); err != nil {
				return fmt.Errorf("%s: %w", seg.name, err)
			}
		}
		if len(r.cuts) == known {
			return nil
		}
	}
}

// scan reads the records of one segment.
func (r *replay) scan(seg *segment) error {
	if seg.stuck {
		return nil
	}
	size := seg.size
	for c := range r.cuts {
		if c.seq == seg.seq {
			size = min(size, c.end)
			seg.condemned = true
		}
	}
	sc := newScanner(seg.f, seg.tag, size)
	unsure := seg.seq == r.last
	for {
		rec, err := sc.next()
		if errors.Is(err, errEnd) {
			break
		}
		if err != nil {
			return err
		}
		if unsure && rec.kind == kindMessage {
			ok, err := sc.bodyIntact(&rec)
			if err != nil {
				return err
			}
			if !ok {
				if err := blank(seg, &rec); err != nil {
					return err
				}
				continue
			}
		}
		r.record(seg, &rec)
	}
	seg.pos, seg.synced = sc.end, sc.end
	if sc.gaps > 0 && !unsure {
		r.s.log.Errorf("mail queue: %s is damaged in %d places, messages may be lost", seg.name, sc.gaps)
	}
	if !unsure {
		return nil
	}
	return r.cutTail(seg, sc.end)
}

// blank makes a torn record one that says nothing.
func blank(seg *segment, rec *record) error {
	h := header{tag: seg.tag, kind: kindBlank, body: uint32(rec.size() - headerSize)}
	b := make([]byte, headerSize)
	h.put(b)
	return seg.f.writev([][]byte{b}, rec.off)
}

// cutTail cuts off what was torn, so that later starts need not look at it.
func (r *replay) cutTail(seg *segment, end int64) error {
	end = align(end, blockSize)
	if end < seg.size {
		if err := seg.f.truncate(end); err != nil {
			return err
		}
		seg.size = end
	}
	return seg.f.sync()
}

// record takes one record.
func (r *replay) record(seg *segment, rec *record) {
	if rec.kind == kindBlank {
		return
	}
	if rec.kind == kindCut {
		if c, err := parseCut(rec.head); err == nil {
			seg.cuts = append(seg.cuts, c)
			r.cuts[c] = true
		}
		return
	}
	if rec.kind == kindRemoved && rec.body > 0 {
		r.carried(seg, rec)
		return
	}
	m := r.message(rec.serial)
	at := place{seg: seg, off: uint32(rec.off), len: uint32(rec.size())}
	switch rec.kind {
	case kindMessage, kindLarge:
		r.addMessage(m, rec, at)
	case kindState:
		flags, next, err := parseStateBrief(rec.head)
		if err != nil {
			return
		}
		m.flags, m.next, m.known = flags, next, true
		if flags&stateFull != 0 {
			m.full, m.hasFull = len(m.states), true
		}
		m.states = append(m.states, at)
	case kindRemoved:
		m.marks = append(m.marks, seg)
	}
}

func (r *replay) message(serial uint64) *replayed {
	r.s.serial = max(r.s.serial, serial+1)
	m := r.messages[serial]
	if m == nil {
		m = new(replayed)
		r.messages[serial] = m
	}
	return m
}

func (r *replay) addMessage(m *replayed, rec *record, at place) {
	if rec.kind == kindLarge && !r.large[rec.serial] {
		// The file goes after the removed record was written, which did
		// not reach the disk.
		m.marks = append(m.marks, at.seg)
	}
	d := decoder{b: rec.head}
	var h head
	d.brief(&h)
	if d.err != nil {
		r.s.log.Errorf("mail queue: %s: unknown format of a message at %d", at.seg.name, at.off)
		return
	}
	e := &entry{
		id: h.id, serial: rec.serial, size: h.size,
		arrival: h.env.Arrival.UnixMicro(), queued: h.queued.UnixMicro(),
		at: at, head: rec.header.head,
	}
	if rec.kind == kindLarge {
		e.flags |= entryLarge
	}
	if h.env.Hold {
		e.flags |= entryHold
	}
	m.e = e
	m.copies = append(m.copies, at.seg)
}

// carried takes a removed record that lists serials.
func (r *replay) carried(seg *segment, rec *record) {
	body := make([]byte, rec.body)
	if _, err := seg.f.ReadAt(body, rec.bodyAt()); err != nil || checksum(body) != rec.bodyCRC {
		return
	}
	for ; len(body) >= 8; body = body[8:] {
		m := r.message(binary.LittleEndian.Uint64(body))
		m.marks = append(m.marks, seg)
	}
}

// build makes the index of what was found.
func (r *replay) build() {
	for serial, m := range r.messages {
		switch {
		case len(m.marks) > 0:
			r.bury(serial, m)
		case m.e != nil:
			r.enter(m)
		}
	}
}

// bury notes where it is said that a message is finished that others hold.
func (r *replay) bury(serial uint64, m *replayed) {
	for _, mark := range m.marks {
		for _, seg := range m.copies {
			if seg != mark {
				mark.tombs = append(mark.tombs, tomb{seg.seq, serial})
			}
		}
	}
}

func (r *replay) enter(m *replayed) {
	e := m.e
	for _, seg := range m.copies {
		if seg != e.at.seg {
			seg.moved, seg.condemned = true, true // as it was before
		}
	}
	if m.known {
		e.setStateFlags(m.flags)
		e.next = m.next
	}
	states := m.states[m.full:]
	if len(states) > 0 && m.hasFull {
		e.state = states[0]
		states = states[1:]
	}
	e.partial = append([]place(nil), states...)
	e.at.take()
	e.state.take()
	for _, p := range e.partial {
		p.take()
	}
	if other := r.s.index[e.id]; other != nil {
		r.s.log.Errorf("mail queue: two messages with the ID %s", e.id)
		e.id += "X"
	}
	r.s.index[e.id] = e
	delete(r.large, e.serial)
}

// removeOrphans removes the contents of messages that are not there: finished,
// or never committed.
func (r *replay) removeOrphans() {
	for serial := range r.large {
		err := r.s.disk.remove(fileName(serial, ".msg"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			r.s.log.Warningf("mail queue: remove content of a finished message: %v", err)
		}
	}
}
