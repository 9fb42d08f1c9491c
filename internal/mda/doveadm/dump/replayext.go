package dump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// An intro is what a log says of an extension before it changes its data.
type intro struct {
	reset                uint32
	header, width, align int
	noShrink             bool
}

func (r *replay) intro(p []byte) error {
	r.cur, r.curWidth, r.ignore = nil, 0, true
	for at := 0; len(p)-at >= 20; {
		b := p[at:]
		n := int(le16(b[18:]))
		if n > len(b)-20 {
			return errors.New("name is cut")
		}
		name, id := string(b[20:20+n]), le32(b)
		if id != 0xffffffff {
			if int64(id) >= int64(len(r.m.exts)) {
				return fmt.Errorf("extension %d of %d", id, len(r.m.exts))
			}
			name = r.m.exts[id].name
		}
		if name == "" || name == extKeywords {
			return fmt.Errorf("extension is named %q", name)
		}
		in := intro{
			reset: le32(b[4:]), header: int(le32(b[8:])), width: int(le16(b[12:])), align: int(le16(b[14:])),
			noShrink: le16(b[16:])&1 != 0,
		}
		if err := r.introduce(name, in); err != nil {
			return err
		}
		at += pad(20+n, 4)
	}
	return nil
}

// introduce makes the extension with the name the current one, with at least the
// sizes of the intro.
func (r *replay) introduce(name string, in intro) error {
	if in.header > maxExtHeader || in.width >= maxRecordSize || in.width > 0 && (in.align == 0 || in.align > 8) {
		return fmt.Errorf("extension %s with sizes %d, %d, %d", name, in.header, in.width, in.align)
	}
	m := r.m
	r.curWidth = in.width
	if e := m.ext(name); e != nil {
		if r.ignore = e.resetID != in.reset; !r.ignore {
			m.resize(e, &in)
		}
		r.cur = e
		return nil
	}
	if len(m.exts) >= 256 {
		return errors.New("too many extensions")
	}
	m.exts = append(m.exts, extension{
		name: name, header: make([]byte, pad(in.header, 8)), size: in.header, resetID: in.reset, width: in.width, align: in.align,
	})
	m.register(name, in.width, in.align)
	m.resized()
	r.cur, r.ignore = m.ext(name), false
	m.reorder(r.cur, 0)
	return nil
}

// resize gives an extension the sizes of an intro.
func (m *indexMap) resize(e *extension, in *intro) {
	was, is := len(e.header), pad(in.header, 8)
	if e.align == in.align && e.width == in.width && (is < was && in.noShrink || e.size == in.header) {
		return
	}
	switch {
	case is < was && !in.noShrink:
		e.header, e.size = e.header[:is], in.header
	case is > was:
		e.header, e.size = append(e.header[:was:was], make([]byte, is-was)...), in.header
	case is == was:
		e.size = in.header
	}
	width, moved := e.width, false
	if e.align < in.align || e.align > in.align && !in.noShrink {
		e.align, moved = in.align, true
	}
	if e.width < in.width || e.width > in.width && !in.noShrink {
		e.width, moved = in.width, true
	}
	m.resized()
	if moved {
		m.reorder(e, width)
	}
}

// reorder finds places in the records for all extensions. changed had the width
// was. The first eight bytes of records are kept as they are.
func (m *indexMap) reorder(changed *extension, was int) {
	type place struct{ offset, width int }
	old := make([]place, len(m.exts))
	sorted := make([]*extension, len(m.exts))
	for i := range m.exts {
		e := &m.exts[i]
		old[i] = place{e.offset, e.width}
		if e == changed {
			old[i].width = min(e.width, was)
		}
		e.offset = 0
		sorted[i] = e
	}
	slices.SortStableFunc(sorted, func(a, b *extension) int { return b.align - a.align })
	width := assignOffsets(sorted)
	records := make([]byte, 0, m.count()*width)
	for i := range m.count() {
		from := m.record(i)
		at := len(records)
		records = append(records, make([]byte, width)...)
		to := records[at:]
		copy(to, from[:minRecord])
		for k, p := range old {
			if p.width > 0 {
				copy(to[m.exts[k].offset:], from[p.offset:p.offset+p.width])
			}
		}
	}
	m.records = records
	m.set(hdrRecordSize, uint32(width))
}

// assignOffsets places extensions, largest alignment first, and returns the size of
// a record.
func assignOffsets(exts []*extension) int {
	at, maxAlign := recordData, 4
	for {
		smallest := 0
		var next *extension
		for _, e := range exts {
			maxAlign = max(maxAlign, e.align)
			if e.offset != 0 || e.width == 0 {
				continue
			}
			if at%e.align == 0 {
				next = e
				break
			}
			if smallest == 0 || e.align < smallest {
				smallest = e.align
			}
		}
		switch {
		case next != nil:
			next.offset = at
			at += next.width
		case smallest == 0:
			return pad(at, maxAlign)
		default:
			at += smallest - at%smallest
		}
	}
}

func (r *replay) reset(p []byte) error {
	if r.cur == nil {
		return errNoIntro
	}
	if len(p) < 4 {
		return errors.New("invalid size")
	}
	e := r.cur
	if e.resetID = le32(p); byteAt(p, 4) != 0 {
		return nil
	}
	clear(e.header[:e.size])
	if e.width > 0 {
		r.messages(1, ^uint32(0), func(_ int, rec []byte) { clear(rec[e.offset : e.offset+e.width]) })
	}
	return nil
}

func (r *replay) extHeader(off, size int, data []byte) error {
	if r.cur == nil {
		return errNoIntro
	}
	if r.ignore {
		return nil
	}
	if off+size > r.cur.size {
		return fmt.Errorf("update of %d bytes at %d of %d", size, off, r.cur.size)
	}
	copy(r.cur.header[off:], data)
	if r.cur.name == extModSeq && !r.modseqs {
		r.trackModSeqs()
	}
	return nil
}

func (r *replay) extRecords(p []byte) error {
	if r.cur == nil {
		return errNoIntro
	}
	if r.ignore {
		return nil
	}
	step := pad(4+r.curWidth, 4)
	if r.curWidth == 0 || r.curWidth > r.cur.width || len(p)%step != 0 {
		return errors.New("invalid size")
	}
	for ; len(p) > 0; p = p[step:] {
		uid := le32(p)
		r.messages(uid, uid, func(_ int, rec []byte) {
			data := rec[r.cur.offset : r.cur.offset+r.cur.width]
			clear(data[copy(data, p[4:4+r.curWidth]):])
		})
	}
	return nil
}

func (r *replay) atomicInc(p []byte) error {
	if r.cur == nil {
		return errNoIntro
	}
	if r.ignore {
		return nil
	}
	if w := r.curWidth; w != 1 && w != 2 && w != 4 && w != 8 || w > r.cur.width {
		return errors.New("invalid size")
	}
	for ; len(p) >= 8; p = p[8:] {
		uid, diff := le32(p), int32(le32(p[4:]))
		r.messages(uid, uid, func(_ int, rec []byte) {
			var b [8]byte
			data := rec[r.cur.offset : r.cur.offset+r.curWidth]
			copy(b[:], data)
			binary.LittleEndian.PutUint64(b[:], le64(b[:])+uint64(int64(diff)))
			copy(data, b[:])
		})
	}
	return sized(len(p) == 0)
}

// touch gives a message the modseq of the record just read.
func (r *replay) touch(rec []byte) {
	if e := r.m.ext(extModSeq); e != nil && r.modseqs {
		raise(rec[e.offset:], r.view.modseq)
	}
}

// raise raises a modseq.
func raise(b []byte, modseq uint64) {
	if le64(b) < modseq {
		binary.LittleEndian.PutUint64(b, modseq)
	}
}

// trackModSeqs begins to keep the modseqs of messages. Those that have none get the highest of
// the time when they were first kept, and then what the log says of them from there to
// here; if that log is gone, the one at its end.
func (r *replay) trackModSeqs() {
	m := r.m
	e := m.ext(extModSeq)
	if e.size < 16 || e.width < 8 {
		return
	}
	r.modseqs = true
	highest, since := le64(e.header), position{max(1, le32(e.header[8:])), int(le32(e.header[12:]))}
	if !since.before(r.view.at) {
		return
	}
	all := func(fn func(b []byte)) {
		for i := range m.count() {
			fn(m.record(i)[e.offset:])
		}
	}
	v, err := r.logs.view(since, r.view.at, r.known, r.base)
	if err != nil {
		if v, err = r.logs.view(position{seq: r.view.at.seq}, r.view.at, r.known, r.base); err != nil {
			return
		}
		lost := max(v.modseq, highest)
		all(func(b []byte) { raise(b, lost) })
	} else {
		all(func(b []byte) {
			if le64(b) == 0 {
				binary.LittleEndian.PutUint64(b, highest)
			}
		})
	}
	r.catchUp(v)
}

// catchUp raises the modseqs of messages that the records of v are about.
func (r *replay) catchUp(v *logView) {
	main := r.view
	r.view = v
	defer func() { r.view = main }()
	touch := func(first, last uint32, _ []byte) {
		r.messages(first, last, func(_ int, rec []byte) { r.touch(rec) })
	}
	for {
		rec, ok := v.next()
		if !ok {
			return
		}
		p := rec.payload
		switch rec.kind() {
		case recAppend:
			for ; len(p) >= minRecord; p = p[minRecord:] {
				touch(le32(p), le32(p), nil)
			}
		case recFlagUpdate:
			ranges(p, 12, touch)
		case recKeywordReset:
			ranges(p, 8, touch)
		case recKeywordUpdate:
			if _, _, uids, ok := keywordUpdate(p); ok {
				ranges(uids, 8, touch)
			}
		}
	}
}

func (r *replay) setModSeqs(p []byte) error {
	e := r.m.ext(extModSeq)
	for ; len(p) >= 12; p = p[12:] {
		uid, modseq := le32(p), uint64(le32(p[8:]))<<32|uint64(le32(p[4:]))
		if uid == 0 {
			continue
		}
		if e == nil || !r.modseqs {
			return errors.New("modseqs are not kept")
		}
		r.messages(uid, uid, func(_ int, rec []byte) { raise(rec[e.offset:], modseq) })
	}
	return sized(len(p) == 0)
}
