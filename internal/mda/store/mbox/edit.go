package mbox

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A plan is the edits of one change of the file, in the order of their places.
type plan struct {
	edits []edit
	first int // of those that move what is behind them
	grows bool
}

func newPlan(edits []edit) *plan {
	p := &plan{edits: edits, first: len(edits)}
	slices.SortFunc(p.edits, func(a, b edit) int { return int(min(max(a.start-b.start, -1), 1)) })
	var sum int64
	for i := range p.edits {
		d := p.edits[i].delta()
		if d != 0 {
			p.first = min(p.first, i)
		}
		sum += d
		p.grows = p.grows || sum > 0
	}
	return p
}

// moved returns where a byte is afterwards that no edit replaces.
func (p *plan) moved(off int64) int64 {
	m := mover{p: p}
	return m.to(off)
}

// A mover is plan.moved for offsets that ascend.
type mover struct {
	p    *plan
	next int
	sum  int64
}

func (m *mover) to(off int64) int64 {
	for ; m.next < len(m.p.edits) && m.p.edits[m.next].end <= off; m.next++ {
		m.sum += m.p.edits[m.next].delta()
	}
	return off + m.sum
}

// pieces calls keep with the parts of the file that stay, from the first edit on that moves
// something, and put with what comes between them.
func (p *plan) pieces(size int64, keep func(s span) error, put func(b []byte) error) error {
	at := p.edits[p.first].start
	for i := p.first; i < len(p.edits); i++ {
		e := &p.edits[i]
		if err := keep(span{at, e.start}); err != nil {
			return err
		}
		if err := put(e.new); err != nil {
			return err
		}
		at = e.end
	}
	return keep(span{at, size})
}

// apply changes the file.
func (b *Box) apply(p *plan) error {
	for i := range p.edits[:p.first] {
		if err := b.writeAt(p.edits[i].new, p.edits[i].start); err != nil {
			return err
		}
	}
	b.base = nil
	if p.first == len(p.edits) {
		return nil
	}
	size := p.moved(b.size)
	j, err := b.writeJournal(p, size)
	switch {
	case err == nil:
		defer j.close()
		err = b.replay(j)
	case !p.grows && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)):
		err = b.shrink(p, size)
	}
	if err != nil {
		return err
	}
	b.size = size
	return nil
}

// shrink changes a file in which everything moves towards the begin, within itself.
func (b *Box) shrink(p *plan, size int64) error {
	if b.HasJournal() { // what it says is in the file, and would not be right any more
		if err := errors.Join(b.opt.Dir.Remove(JournalName), b.syncDir()); err != nil {
			return err
		}
	}
	to := p.edits[p.first].start
	put := func(text []byte) error {
		err := b.writeAt(text, to)
		to += int64(len(text))
		return err
	}
	err := p.pieces(b.size, func(s span) error { return b.copyTo(s, b.ReadAt, put) }, put)
	if err == nil {
		err = b.truncate(size)
	}
	return err
}

// copyTo passes on a part of a file.
func (b *Box) copyTo(s span, read func(p []byte, off int64) (int, error), put func([]byte) error) error {
	mem := windowPool.Get().(*[]byte)
	defer windowPool.Put(mem)
	for s.start < s.end {
		part := (*mem)[:min(int64(len(*mem)), s.len())]
		if n, err := read(part, s.start); n < len(part) {
			return errOr(err, errLost)
		}
		if err := put(part); err != nil {
			return err
		}
		s.start += int64(len(part))
		b.alive()
	}
	return nil
}

func (b *Box) truncate(size int64) error {
	if err := unix.Ftruncate(b.fd, size); err != nil {
		return fmt.Errorf("ftruncate(%s): %w", b.opt.Path, err)
	}
	return nil
}

// reserve makes sure that the file can grow to a size.
func (b *Box) reserve(old, size int64) error {
	if size <= old {
		return nil
	}
	err := unix.Fallocate(b.fd, unix.FALLOC_FL_KEEP_SIZE, old, size-old)
	if err == nil || !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	put := func(zeros []byte) error {
		err := b.writeAt(zeros, old)
		old += int64(len(zeros))
		return err
	}
	nothing := func(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }
	was := old
	if err := b.copyTo(span{old, size}, nothing, put); err != nil {
		return errors.Join(err, b.truncate(was))
	}
	return nil
}
