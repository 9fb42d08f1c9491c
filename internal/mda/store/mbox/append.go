package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Placing is a finished message with what becomes of it.
type Placing struct {
	Writer   *Writer
	UID      uint32
	Flags    byte
	Keywords []string
	Received time.Time
	Sender   string

	From int64 // where it was placed
}

// Append adds messages to the file: all or none. base is for the first message of an empty
// file. It returns the size before, to which [Box.Cut] takes the file back.
func (b *Box) Append(list []Placing, base Base) (before int64, err error) {
	if b.readOnly {
		return 0, fmt.Errorf("%s: %w", b.opt.Path, unix.EACCES)
	}
	before = b.size
	a := appender{b: b, at: b.size}
	if err = a.endLine(); err == nil {
		err = a.write(list, &base)
	}
	if err != nil {
		b.Cut(before)
		return 0, err
	}
	b.size = a.at
	return before, nil
}

// Cut gives up what was appended.
func (b *Box) Cut(size int64) {
	var st unix.Stat_t
	if unix.Fstat(b.fd, &st) != nil || st.Size <= size {
		return
	}
	if err := b.truncate(size); err != nil {
		b.opt.Log.Errorf("Mailbox %s: %v", b.opt.Name, err)
	}
	b.size, b.base = size, nil
	b.Distrust()
}

// maxBuffered is how much an appender writes at once.
const maxBuffered = 256 << 10

// An appender writes at the end of the file.
type appender struct {
	b     *Box
	at    int64
	begin int64 // where "From " is missing
	buf   []byte
}

// endLine ends the last line, if the last writer did not.
func (a *appender) endLine() error {
	if a.at == 0 {
		return nil
	}
	var last [1]byte
	if n, err := a.b.ReadAt(last[:], a.at-1); n == 0 {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	a.buf = append(a.buf, '\n')
	return a.flush()
}

func (a *appender) put(p []byte) error {
	if len(a.buf)+len(p) > maxBuffered {
		if err := a.flush(); err != nil {
			return err
		}
	}
	if len(p) > maxBuffered/2 {
		err := a.b.writeAt(p, a.at)
		a.at += int64(len(p))
		a.b.alive()
		return err
	}
	a.buf = append(a.buf, p...)
	return nil
}

func (a *appender) flush() error {
	err := a.b.writeAt(a.buf, a.at)
	a.at += int64(len(a.buf))
	a.buf = a.buf[:0]
	a.b.alive()
	return err
}

// write writes the messages behind the place of the first "From ", and that last.
func (a *appender) write(list []Placing, base *Base) error {
	mem := windowPool.Get().(*[]byte)
	defer func() { windowPool.Put(mem) }()
	a.buf = (*mem)[:0]
	a.begin = a.at
	base.LastUID = list[len(list)-1].UID
	for i := range list {
		if err := a.message(&list[i], i == 0, base); err != nil {
			return err
		}
	}
	if err := a.flush(); err != nil {
		return err
	}
	if a.begin > 0 {
		if err := a.b.raiseLastUID(list[len(list)-1].UID); err != nil {
			return err
		}
	}
	return a.b.writeAt(fromPrefix, a.begin)
}

func (a *appender) message(p *Placing, first bool, base *Base) error {
	w := p.Writer
	p.From = max(a.at+int64(len(a.buf))-1, 0)
	line := AppendFrom(nil, p.Sender, p.Received)
	if first {
		line = line[len(fromPrefix):]
		a.at += int64(len(fromPrefix))
	}
	meta := Meta{UID: p.UID, Flags: p.Flags, Keywords: p.Keywords, Length: w.size - w.head}
	if p.From == 0 {
		meta.Base = base
	}
	err := a.put(line)
	if err == nil {
		err = w.read(span{0, w.head}, a.put)
	}
	if err == nil {
		err = a.put(append(meta.appendTo(nil, -1, padding), '\n'))
	}
	if err == nil {
		err = w.read(span{w.head, w.size}, a.put)
	}
	if err == nil {
		err = a.put([]byte{'\n'})
	}
	return err
}

// First returns what the first message knows of the mailbox; nil if there is none that
// does. The caller must not change it.
func (b *Box) First() (*Base, error) {
	if b.base != nil || b.size == 0 {
		return b.base, nil
	}
	p := b.parser()
	defer p.w.close()
	m, err := p.parse(0, headerOnly)
	if err != nil {
		return nil, p.errorAt(0, err)
	}
	b.base = m.Base
	return b.base, nil
}

// NoteKeywords adds to the keywords that the first message lists, if there is room. Without a
// list a keyword in the header of a message counts for nothing once the index is lost.
func (b *Box) NoteKeywords(names []string) error {
	base, err := b.First()
	if err != nil || base == nil || b.readOnly {
		return err
	}
	p := b.parser()
	defer p.w.close()
	m, err := p.parse(0, headerOnly)
	if err != nil {
		return p.errorAt(0, err)
	}
	all := *m.Base
	all.Keywords = slices.Concat(all.Keywords, names)
	meta := Meta{UID: m.UID, Flags: m.Flags, Old: m.Old, Keywords: m.Keywords, Base: &all, Pseudo: m.Pseudo, Length: m.length}
	e, ok, err := p.rewrite(m, &meta, 0)
	if errors.Is(err, errStays) || err == nil && (!ok || e.delta() != 0) {
		return nil
	}
	if err == nil {
		b.base = nil
		err = b.writeAt(e.new, e.start)
	}
	return err
}

// raiseLastUID writes the highest uid given so far to the first message. Where that has no
// place for it, it gets one when its header is written.
func (b *Box) raiseLastUID(uid uint32) error {
	for range 2 {
		base, err := b.First()
		if err != nil || base == nil || base.lastAt == 0 || base.LastUID >= uid {
			return err
		}
		var have [10]byte
		if n, err := b.ReadAt(have[:], base.lastAt); n < len(have) {
			return err
		}
		if bytes.Equal(have[:], fmt.Appendf(nil, "%010d", base.LastUID)) {
			base.LastUID = uid
			return b.writeAt(fmt.Appendf(nil, "%010d", uid), base.lastAt)
		}
		b.base = nil // another program has changed it
	}
	return nil
}
