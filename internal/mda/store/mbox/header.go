package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const (
	// padding is the room for keywords that a message gets.
	padding = 72
	// wrapAt is the length at which lines of keywords are wrapped. It is large, since other
	// programs do not read more than the first line.
	wrapAt = 1024
	// maxRewrite bounds the part of a header that is written anew.
	maxRewrite = 4 << 20
)

// errStays says that a header is too large to be rewritten, or ends with a CR that would
// become an empty line.
var errStays = errors.New("header stays as it is")

// A Meta is what the hidden fields of a message are to say.
type Meta struct {
	UID      uint32
	Flags    byte
	Old      bool
	Keywords []string
	Base     *Base // of the first message
	Pseudo   bool
	Length   int64 // Content-Length; -1 to have none
}

// appendTo writes the fields. They take up room bytes or, if that is not enough, what they
// need and spare blanks.
func (m *Meta) appendTo(b []byte, room, spare int) []byte {
	var head, tail, words []byte
	if m.Base != nil {
		head = m.Base.appendTo(head, m.Pseudo)
	}
	if !m.Pseudo {
		head = append(head, "X-UID: "...)
		head = strconv.AppendUint(head, uint64(m.UID), 10)
		head = append(head, '\n')
	}
	split := len(head) - 1 // where blanks do no harm
	tail = m.appendStatus(tail)
	for i, name := range m.Keywords {
		words = appendWord(words, name, i == 0)
	}
	length := []byte(nil)
	if m.Length >= 0 && !m.Pseudo {
		length = fmt.Appendf(length, "Content-Length: %d\n", m.Length)
	}
	const keywords = "X-Keywords: "
	need := len(head) + len(tail) + len(length)
	if len(words) > 0 {
		need += len(keywords) + len(words) + 1
	}
	blanks := room - need
	if blanks < 0 {
		blanks = spare
		if len(words) == 0 {
			blanks += len(keywords) + 1
		}
	}
	b = append(b, head[:split]...)
	if len(words) == 0 && blanks <= len(keywords) || m.Pseudo {
		b = appendBlanks(b, blanks)
		b = append(b, '\n')
		b = append(b, tail...)
		return append(b, length...)
	}
	b = append(b, '\n')
	b = append(b, tail...)
	b = append(b, keywords...)
	if len(words) == 0 {
		blanks -= len(keywords) + 1
	}
	b = append(b, words...)
	b = appendBlanks(b, blanks)
	b = append(b, '\n')
	return append(b, length...)
}

func appendBlanks(b []byte, n int) []byte { return append(b, bytes.Repeat([]byte{' '}, max(n, 0))...) }

func (m *Meta) appendStatus(b []byte) []byte {
	b = append(b, "Status: "...)
	if m.Flags&FlagSeen != 0 {
		b = append(b, 'R')
	}
	if m.Old {
		b = append(b, 'O')
	}
	b = append(b, '\n')
	if m.Flags&(FlagAnswered|FlagFlagged|FlagDraft|FlagDeleted) == 0 {
		return b
	}
	b = append(b, "X-Status: "...)
	for _, f := range [...]struct {
		bit    byte
		letter byte
	}{{FlagAnswered, 'A'}, {FlagFlagged, 'F'}, {FlagDraft, 'T'}, {FlagDeleted, 'D'}} {
		if m.Flags&f.bit != 0 {
			b = append(b, f.letter)
		}
	}
	return append(b, '\n')
}

// appendWord adds a keyword to a list, in a new line if that gets long.
func appendWord(b []byte, name string, first bool) []byte {
	switch line := len(b) - 1 - bytes.LastIndexByte(b, '\n'); {
	case first:
	case line >= wrapAt:
		b = append(b, "\n\t"...)
	default:
		b = append(b, ' ')
	}
	return append(b, name...)
}

func (base *Base) appendTo(b []byte, pseudo bool) []byte {
	name := "X-IMAPbase: "
	if pseudo {
		name = "X-IMAP: "
	}
	b = append(b, name...)
	list := fmt.Appendf(nil, "%d %010d", base.UIDValidity, base.LastUID)
	for _, word := range base.Keywords {
		list = appendWord(list, word, false)
	}
	b = append(b, list...)
	return append(b, '\n')
}

// An edit puts other bytes in the place of some of the file.
type edit struct {
	span
	new []byte
}

func (e *edit) delta() int64 { return int64(len(e.new)) - e.len() }

// rewrite returns how the header of a message has to change to say what meta says. ok is
// false if it does already.
func (p *parser) rewrite(m *Message, meta *Meta, spare int) (e edit, ok bool, err error) {
	end := m.Body - int64(m.eoh)
	e.span = span{end, end}
	if len(m.hidden) > 0 {
		e.start = min(m.hidden[0].start, end)
	}
	if e.len() > maxRewrite {
		return e, false, errStays
	}
	old := make([]byte, e.len())
	if len(old) > 0 {
		if _, err := p.w.f.ReadAt(old, e.start); err != nil {
			return e, false, err
		}
	}
	if e.new, err = p.visibleOf(m, e.span, old); err != nil {
		return e, false, err
	}
	visible := len(e.new)
	e.new = meta.appendTo(e.new, len(old)-visible, spare)
	if len(e.new) != len(old) {
		return e, true, nil
	}
	// Write no more than what is different.
	from, to := 0, len(old)
	for from < to && old[from] == e.new[from] {
		from++
	}
	for to > from && old[to-1] == e.new[to-1] {
		to--
	}
	e.span = span{e.start + int64(from), e.start + int64(to)}
	e.new = e.new[from:to]
	return e, from < to, nil
}

// visibleOf returns what of a part of the header belongs to the message, as whole lines.
func (p *parser) visibleOf(m *Message, s span, text []byte) ([]byte, error) {
	var b []byte
	at := s.start
	for _, h := range m.hidden {
		b = append(b, text[at-s.start:h.start-s.start]...)
		at = min(h.end, s.end)
	}
	b = append(b, text[at-s.start:]...)
	if m.eoh > 0 {
		return b, nil
	}
	// The last line break of a header without end is that between the messages.
	last := byte('\n')
	switch {
	case len(b) > 0:
		last = b[len(b)-1]
	case s.start > 0:
		before, err := p.w.at(s.start-1, 1)
		if err != nil || len(before) == 0 {
			return nil, errOr(err, errLost)
		}
		last = before[0]
	}
	switch last {
	case '\n':
	case '\r':
		return nil, errStays
	default:
		b = append(b, '\n')
	}
	return b, nil
}

func errOr(err, dflt error) error {
	if err != nil {
		return err
	}
	return dflt
}
