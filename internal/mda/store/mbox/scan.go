package mbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Check looks whether a message is where the index says.
func (b *Box) Check(pl Place) (*Message, error) {
	p := b.parser()
	defer p.w.close()
	return p.check(pl)
}

func (p *parser) check(pl Place) (*Message, error) {
	m, err := p.parse(pl.From, pl.End)
	if errors.Is(err, errLost) || err == nil && (!pl.is(m) || pl.End > 0 && m.End != pl.End) {
		return nil, fmt.Errorf("UID=%d, offset %d: %w", pl.UID, pl.From, ErrMoved)
	}
	return m, err
}

// ErrCut says that what a killed writer left was cut out of the file: one has to begin again.
var ErrCut = errors.New("unfinished message was cut")

// Each calls fn with the messages from one on, whose line break is at from. The index knows all below a uid. ErrCut.
func (b *Box) Each(from int64, known uint32, fn func(m *Message) error) error {
	p := b.parser()
	p.known = known
	defer p.w.close()
	return p.each(b.opt.Path, from, func(m *Message) error {
		b.alive()
		if m.torn && !b.readOnly {
			return b.cutTorn(p, m)
		}
		return fn(m)
	})
}

// cutTorn cuts out what a killed writer left behind a message.
func (b *Box) cutTorn(p *parser, m *Message) error {
	n, err := p.lineBreak(m.End)
	if err == nil {
		err = b.cutOut(p, m.End+int64(n), m.next)
	}
	if err != nil {
		return err
	}
	return ErrCut
}

// cutOut cuts out what a killed writer left at an offset, up to the line break before a message that
// somebody has appended since, or to the end of the file.
func (b *Box) cutOut(p *parser, at, next int64) error {
	n, err := p.lineBreak(next)
	if err != nil {
		return err
	}
	next += int64(n)
	b.opt.Log.Warningf("Mailbox %s: cut %d bytes of an unfinished message off %s", b.opt.Name, next-at, b.opt.Path)
	if next < b.size {
		return b.apply(newPlan([]edit{{span: span{at, next}}}))
	}
	if err := b.truncate(at); err != nil {
		return err
	}
	b.size, b.base = at, nil
	return nil
}

func (p *parser) each(path string, from int64, fn func(m *Message) error) error {
	for p.w.size > from+2 || from == 0 && p.w.size > 0 {
		m, err := p.parse(from, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", path, p.errorAt(from, err))
		}
		if err := fn(m); err != nil {
			return err
		}
		from = max(m.End, m.next)
	}
	return nil
}

// CutUnfinished cuts off what a killed writer left behind the last message that the index
// knows, which pl says. A zero pl stands for an empty file.
func (b *Box) CutUnfinished(pl Place) error {
	p := b.parser()
	defer p.w.close()
	at := int64(0)
	if pl != (Place{}) {
		at = pl.End + 1
	}
	torn, err := p.unfinished(at)
	if err != nil || !torn || b.readOnly {
		return err
	}
	if at > 0 {
		if m, err := p.check(pl); err != nil || !m.torn {
			return nil //nolint:nilerr // the file is not the one that the index knows
		}
	}
	next, torn, err := p.endOfTorn(at, at > 0)
	if err == nil && at > 0 {
		next, err = p.endOfBatch(next, pl.UID)
	}
	if err != nil || !torn {
		return err
	}
	return b.cutOut(p, at, next)
}

// Size returns the size of the file.
func (b *Box) Size() int64 { return b.size }

// VirtualSize returns that of a message, of which it reads all.
func (b *Box) VirtualSize(m *Message) (int64, error) {
	f := File{}
	f.setMessage(m)
	w := newWindow(b, b.size)
	defer w.close()
	var size int64
	for _, r := range f.runs {
		n, err := w.virtual(r.start, r.end)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// ReadAll calls fn with all messages of a file without locking it, for who holds a lock that
// comes after those of the file. It may be wrong if somebody changes the file meanwhile.
func (b *Box) ReadAll(fn func(m *Message)) error {
	fd, st, err := openFile(b.opt.Path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	p := &parser{w: newWindow(fdReader(fd), st.Size), digest: b.opt.Digest}
	defer p.w.close()
	return p.each(b.opt.Path, 0, func(m *Message) error {
		fn(m)
		return nil
	})
}

// BaseOf returns what the first message of a file knows, without locking it; nil if that is
// nothing.
func (b *Box) BaseOf() (*Base, error) {
	fd, st, err := openFile(b.opt.Path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if st.Size == 0 {
		return nil, nil
	}
	p := &parser{w: newWindow(fdReader(fd), st.Size), digest: b.opt.Digest}
	defer p.w.close()
	m, err := p.parse(0, headerOnly)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.opt.Path, p.errorAt(0, err))
	}
	return m.Base, nil
}
