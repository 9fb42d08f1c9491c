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

// Each calls fn with the messages from one on, whose line break is at from.
func (b *Box) Each(from int64, fn func(m *Message) error) error {
	p := b.parser()
	defer p.w.close()
	return p.each(b.opt.Path, from, func(m *Message) error {
		b.alive()
		return fn(m)
	})
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
		from = m.End
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
	if err != nil || !torn {
		return err
	}
	if at > 0 {
		if m, err := p.check(pl); err != nil || !m.torn {
			return nil //nolint:nilerr // the file is not the one that the index knows
		}
	}
	if b.readOnly {
		return nil
	}
	b.opt.Log.Warningf("Mailbox %s: cut %d bytes of an unfinished message off %s", b.opt.Name, b.size-at, b.opt.Path)
	if err := b.truncate(at); err != nil {
		return err
	}
	b.size = at
	return nil
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
