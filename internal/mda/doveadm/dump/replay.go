package dump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// A replay applies what the logs say to an [indexMap], as Dovecot does when it opens
// the index.
type replay struct {
	m     *indexMap
	logs  *logs
	view  *logView
	known position // where dovecot.index knew the modseq
	base  uint64

	cur      *extension // that the next extension records are about
	curWidth int
	ignore   bool // they belong to a file that was replaced
	modseqs  bool // the modseqs of messages are kept
}

var errNoIntro = errors.New("extension record without intro")

// replayLogs brings m to the end of the logs. Records that make no sense are
// reported and left out.
func replayLogs(m *indexMap, ls *logs, complain func(format string, args ...any)) error {
	r := &replay{m: m, logs: ls}
	if e := m.ext(extModSeq); e != nil && e.size >= 16 {
		r.known, r.base = position{le32(e.header[8:]), int(le32(e.header[12:]))}, le64(e.header)
	}
	head := position{m.get(hdrLogSeq), int(m.get(hdrLogHead))}
	v, err := ls.view(head, position{}, r.known, r.base)
	if err != nil {
		return err
	}
	r.view = v
	if v.anew {
		fsckd := m.get(hdrFlags) & hdrFlagFsckd
		old := m.registered
		*m = *newIndexMap(ls.head().indexID)
		m.registered = old
		m.set(hdrFlags, fsckd)
		m.set(hdrLogSeq, v.at.seq)
	}
	dirty := m.get(hdrFlags)&hdrFlagDirty != 0
	m.set(hdrFlags, m.get(hdrFlags)&^hdrFlagDirty)
	if m.ext(extModSeq) != nil {
		r.trackModSeqs()
	}
	for {
		at := v.at
		rec, ok := v.next()
		if !ok {
			break
		}
		if err := r.apply(&rec); err != nil {
			complain("%s: record %s at %d: %v", ls.path, recordName(rec.typ), at.off, err)
		}
	}
	if dirty && m.anyDirty() {
		m.set(hdrFlags, m.get(hdrFlags)|hdrFlagDirty)
	}
	r.finish()
	return nil
}

func (m *indexMap) anyDirty() bool {
	for i := range m.count() {
		if m.record(i)[4]&flagDirty != 0 {
			return true
		}
	}
	return false
}

// finish notes how far the logs were read.
func (r *replay) finish() {
	m, v := r.m, r.view
	if e := m.ext(extModSeq); r.modseqs && e.size >= 16 && (position{le32(e.header[8:]), int(le32(e.header[12:]))}).before(v.at) {
		binary.LittleEndian.PutUint64(e.header, v.modseq)
		binary.LittleEndian.PutUint32(e.header[8:], v.at.seq)
		binary.LittleEndian.PutUint32(e.header[12:], uint32(v.at.off))
	}
	if m.get(hdrLogSeq) != v.at.seq {
		m.set(hdrLogSeq, v.at.seq)
		m.set(hdrLogTail, 0)
	}
	m.set(hdrLogHead, uint32(v.at.off))

	m.set(hdrLogTail, max(m.get(hdrLogTail), uint32(r.logs.head().tail())))
}

// messages calls fn for the messages in a range of uids.
func (r *replay) messages(first, last uint32, fn func(i int, rec []byte)) {
	for i, n := r.m.find(first), r.m.count(); i < n; i++ {
		rec := r.m.record(i)
		if le32(rec) > last {
			return
		}
		fn(i, rec)
	}
}

func (r *replay) apply(rec *record) error {
	p := rec.payload
	switch rec.kind() {
	case recAppend:
		return r.append(p)
	case guardExpunge:
		if rec.external() {
			return r.expunge(p, 8)
		}
	case guardExpunge2:
		if rec.external() {
			return r.expunge(p, 20)
		}
	case recFlagUpdate:
		return sized(ranges(p, 12, r.flags))
	case recHeaderUpdate:
		return updates(p, 2, r.header)
	case recExtIntro:
		return r.intro(p)
	case recExtReset:
		return r.reset(p)
	case recExtHeader:
		return updates(p, 2, r.extHeader)
	case recExtHeader32:
		return updates(p, 4, r.extHeader)
	case recExtRecords:
		return r.extRecords(p)
	case recAtomicInc:
		return r.atomicInc(p)
	case recKeywordUpdate:
		return r.keywords(p)
	case recKeywordReset:
		return sized(ranges(p, 8, r.keywordReset))
	case recModSeq:
		return r.setModSeqs(p)
	case recDeleted, recUndeleted, recBoundary, recAttribute:
	default:
		return errors.New("unknown type")
	}
	return nil
}

func sized(ok bool) error {
	if !ok {
		return errors.New("invalid size")
	}
	return nil
}

func (r *replay) append(p []byte) error {
	m := r.m
	for ; len(p) >= minRecord; p = p[minRecord:] {
		uid, flags := le32(p), p[4]
		if uid < m.get(hdrNextUID) {
			return fmt.Errorf("uid %d, the next is %d", uid, m.get(hdrNextUID))
		}
		rec := make([]byte, m.recordSize())
		copy(rec, p[:minRecord])
		m.records = append(m.records, rec...)
		r.touch(m.record(m.count() - 1))
		m.set(hdrMessages, m.get(hdrMessages)+1)
		m.set(hdrNextUID, uid+1)
		if flags&flagDirty != 0 {
			m.set(hdrFlags, m.get(hdrFlags)|hdrFlagDirty)
		}
		m.lowwater(uid, flags)
		m.recount(0, flags)
	}
	return sized(len(p) == 0)
}

func (m *indexMap) lowwater(uid uint32, flags byte) {
	if flags&flagSeen == 0 && uid < m.get(hdrUnseenLow) {
		m.set(hdrUnseenLow, uid)
	}
	if flags&flagDeleted != 0 && uid < m.get(hdrDeletedLow) {
		m.set(hdrDeletedLow, uid)
	}
}

// recount keeps the counters when a message's flags change.
func (m *indexMap) recount(was, is byte) {
	seen, deleted := m.get(hdrSeen), m.get(hdrDeleted)
	if was&flagSeen != is&flagSeen {
		if was&flagSeen != 0 {
			m.set(hdrSeen, seen-1)
		} else if m.set(hdrSeen, seen+1); seen+1 == m.get(hdrMessages) {
			m.set(hdrUnseenLow, m.get(hdrNextUID))
		}
	}
	if was&flagDeleted == is&flagDeleted {
		return
	}
	if is&flagDeleted != 0 {
		m.set(hdrDeleted, deleted+1)
	} else if m.set(hdrDeleted, deleted-1); deleted == 1 {
		m.set(hdrDeletedLow, m.get(hdrNextUID))
	}
}

// expunge removes messages, whose uids are at the begin of items of p.
func (r *replay) expunge(p []byte, size int) error {
	m := r.m
	gone := make(map[uint32]bool)
	for ; len(p) >= size; p = p[size:] {
		last := le32(p)
		if size == 8 {
			last = le32(p[4:])
		}
		r.messages(le32(p), last, func(_ int, rec []byte) { gone[le32(rec)] = true })
	}
	kept := m.records[:0]
	for i := range m.count() {
		rec := m.record(i)
		if gone[le32(rec)] {
			m.recount(rec[4], 0)
			continue
		}
		kept = append(kept, rec...)
	}
	m.records = kept
	m.set(hdrMessages, uint32(m.count()))
	return sized(len(p) == 0)
}

func (r *replay) flags(first, last uint32, item []byte) {
	add, remove := item[8], item[9]
	found := false
	r.messages(first, last, func(_ int, rec []byte) {
		found = true
		if visibleFlag(item) {
			r.touch(rec)
		}
		was := rec[4]
		rec[4] = was&^remove | add
		if (add|remove)&(flagSeen|flagDeleted) != 0 {
			r.m.lowwater(le32(rec), rec[4])
			r.m.recount(was, rec[4])
		}
	})
	if found && add&flagDirty != 0 {
		r.m.set(hdrFlags, r.m.get(hdrFlags)|hdrFlagDirty)
	}
}

func (r *replay) header(off, size int, data []byte) error {
	m := r.m
	if off+size > indexHeaderSize {
		return fmt.Errorf("update of %d bytes at %d", size, off)
	}
	tail, next := m.get(hdrLogTail), m.get(hdrNextUID)
	copy(m.hdr[off:], data)
	m.set(hdrNextUID, max(m.get(hdrNextUID), next))
	m.set(hdrLogTail, tail)
	return nil
}

// keyword returns the number of a keyword, which it makes if there is none.
func (r *replay) keyword(name string) (int, error) {
	for i, k := range r.m.keywords {
		if strings.EqualFold(k, name) {
			return i, nil
		}
	}
	return r.addKeyword(name)
}

// addKeyword adds a keyword to the header of their extension, which grows by more
// than is needed now.
func (r *replay) addKeyword(name string) (int, error) {
	m := r.m
	names := append(append([]string(nil), m.keywords...), name)
	h := binary.LittleEndian.AppendUint32(nil, uint32(len(names)))
	off := 0
	for _, k := range names {
		h = binary.LittleEndian.AppendUint64(h, uint64(off)<<32)
		off += len(k) + 1
	}
	for _, k := range names {
		h = append(append(h, k...), 0)
	}
	h = append(h, make([]byte, pad(len(h), 4)-len(h))...)
	e := m.ext(extKeywords)
	if e == nil || len(h) > e.size || 8*e.width < len(names) {
		h = append(h, make([]byte, 128)...)
		if err := r.sizeKeywords(len(h), len(names)); err != nil {
			return 0, err
		}
		e = m.ext(extKeywords)
	}
	copy(e.header, h)
	return len(names) - 1, m.parseKeywords()
}

// sizeKeywords gives the extension room for n keywords.
func (r *replay) sizeKeywords(header, n int) error {
	width := (n + 7) / 8
	if width%4 != 0 {
		width++
	}
	cur, curWidth, ignore := r.cur, r.curWidth, r.ignore
	reset := uint32(0)
	if e := r.m.ext(extKeywords); e != nil {
		reset = e.resetID
	}
	err := r.introduce(extKeywords, intro{reset: reset, header: header, width: width, align: 1})
	if cur != nil {
		cur = r.m.ext(cur.name)
	}
	r.cur, r.curWidth, r.ignore = cur, curWidth, ignore
	return err
}

func (r *replay) keywords(p []byte) error {
	op, name, uids, ok := keywordUpdate(p)
	if !ok {
		return errors.New("invalid keyword")
	}
	k, err := r.keyword(name)
	if err != nil {
		return err
	}
	e := r.m.ext(extKeywords)
	if k/8 >= e.width {
		if op == 1 {
			return nil
		}
		if err := r.sizeKeywords(e.size, len(r.m.keywords)); err != nil {
			return err
		}
		e = r.m.ext(extKeywords)
	}
	return sized(ranges(uids, 8, func(first, last uint32, _ []byte) {
		r.messages(first, last, func(_ int, rec []byte) {
			r.touch(rec)
			bits := rec[e.offset : e.offset+e.width]
			switch op {
			case 0:
				bits[k/8] |= 1 << (k % 8)
			case 1:
				bits[k/8] &^= 1 << (k % 8)
			case 2:
				clear(bits)
				bits[k/8] |= 1 << (k % 8)
			}
		})
	}))
}

func (r *replay) keywordReset(first, last uint32, _ []byte) {
	e := r.m.ext(extKeywords)
	if e == nil {
		return
	}
	r.messages(first, last, func(_ int, rec []byte) {
		r.touch(rec)
		clear(rec[e.offset : e.offset+e.width])
	})
}
