package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// ErrNotMbox says that a file is no mbox.
var ErrNotMbox = errors.New("not a valid mbox file: it doesn't begin with a From_ line")

// errLost says that no message begins where one should.
var errLost = errors.New("no message begins here")

// The bits of flags, those of dovecot.index.
const (
	FlagAnswered = 0x01
	FlagFlagged  = 0x02
	FlagDeleted  = 0x04
	FlagSeen     = 0x08
	FlagDraft    = 0x10

	flagOld = 0x20 // Status: O
)

// A field is one of the header fields that belong to the mailbox and not to the message.
type field uint8

const (
	fieldNone field = iota
	fieldLength
	fieldStatus
	fieldXStatus
	fieldUID
	fieldKeywords
	fieldBase
	fieldPseudo
)

// hiddenFields are their names, in lower case.
var hiddenFields = [...]string{
	fieldLength: "content-length", fieldStatus: "status", fieldXStatus: "x-status", fieldUID: "x-uid",
	fieldKeywords: "x-keywords", fieldBase: "x-imapbase", fieldPseudo: "x-imap",
}

func fieldOf(name []byte) field {
	for f := fieldLength; int(f) < len(hiddenFields); f++ {
		if fold(name, hiddenFields[f]) {
			return f
		}
	}
	return fieldNone
}

// maxValue bounds what is read of the value of such a field.
const maxValue = 64 << 10

// A span is a part of the file.
type span struct{ start, end int64 }

func (s span) len() int64 { return s.end - s.start }

// A Base is what the first message knows of the mailbox: X-IMAPbase, or X-IMAP.
type Base struct {
	UIDValidity uint32
	LastUID     uint32
	Keywords    []string

	lastAt int64 // where the ten digits of LastUID are; 0 if they are not ten
}

// Exact reports whether LastUID can be changed in place.
func (b *Base) Exact() bool { return b.lastAt > 0 }

// A Message is what the header of a message says, and where it lies.
type Message struct {
	From   int64 // the line break before the From_ line, or 0
	Header int64 // begin of the header
	Body   int64 // begin of the body
	End    int64 // end of the body, where the next message begins with a line break

	Received time.Time
	Sender   string

	UID      uint32 // 0 if there is none that can be believed
	Flags    byte
	Old      bool // not recent
	Keywords []string
	Base     *Base
	Pseudo   bool // no message, only a Base
	MD5      [16]byte

	length int64  // Content-Length, or -1
	hidden []span // fields that are not the message's, in their order
	broken bool   // some of these are wrong
	eoh    int    // length of the empty line that ends the header; 0 if there is none
	torn   bool   // a killed writer left something behind it,
	next   int64  // up to here, where the next message begins with a line break, or the file ends
}

// Broken reports whether hidden fields are wrong or missing.
func (m *Message) Broken() bool { return m.broken || m.UID == 0 && !m.Pseudo }

// A parser reads messages of a file.
type parser struct {
	w      *window
	digest Digest
	known  uint32 // the index knows all messages below this uid
}

// headerOnly has parse not look for the end of a message.
const headerOnly = -1

// parse reads the message whose line break, or From_ line in the case of the first, is at
// from. end is where it is expected to end; 0 for no idea.
func (p *parser) parse(from, end int64) (*Message, error) {
	m := &Message{From: from, length: -1}
	at := from
	if from > 0 {
		n, err := p.lineBreak(from)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errLost
		}
		at += int64(n)
	}
	line, ok, err := p.fromLine(at)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errLost
	}
	m.Sender, m.Received, _ = ParseFrom(line)
	if m.Header, err = p.endOfLine(at); err != nil {
		return nil, err
	}
	h := headerParser{p: p, m: m, md5: newDigester(p.digest)}
	if err := h.run(); err != nil {
		return nil, err
	}
	m.MD5 = h.md5.result()
	if m.End > 0 || end == headerOnly {
		return m, nil // a From_ line, or the end of the file, came before the body
	}
	return m, p.findEnd(m, end)
}

// lineBreak returns the length of the line break at an offset, 0 if there is none.
func (p *parser) lineBreak(off int64) (int, error) {
	b, err := p.w.at(off, 2)
	switch {
	case err != nil:
		return 0, err
	case len(b) > 0 && b[0] == '\n':
		return 1, nil
	case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
		return 2, nil
	}
	return 0, nil
}

// fromLine returns what follows "From " at an offset, if that is a From_ line.
func (p *parser) fromLine(off int64) (rest []byte, ok bool, err error) {
	b, err := p.w.at(off, len(fromPrefix))
	if err != nil || !bytes.HasPrefix(b, fromPrefix) {
		return nil, false, err
	}
	line, err := p.w.line(off)
	if err != nil {
		return nil, false, err
	}
	rest = line[len(fromPrefix):min(len(line), maxFromLine)]
	_, _, ok = ParseFrom(rest)
	return rest, ok, nil
}

// endOfLine returns where the next line begins.
func (p *parser) endOfLine(off int64) (int64, error) {
	for {
		line, err := p.w.line(off)
		if err != nil {
			return 0, err
		}
		off += int64(len(line))
		if len(line) == 0 || line[len(line)-1] == '\n' {
			return off, nil
		}
	}
}

// findEnd finds where the body ends.
func (p *parser) findEnd(m *Message, expected int64) error {
	for _, end := range [...]int64{m.Body + m.length, expected} {
		if m.length < 0 && end != expected || end < m.Body || end >= p.w.size {
			continue
		}
		ok, err := p.boundary(end)
		if err == nil && !ok {
			err = p.findTorn(m, end, end == expected)
		}
		if err != nil {
			return err
		}
		if ok || m.torn {
			m.End = end
			return nil
		}
	}
	end, err := p.search(m.Body)
	m.End = end
	return err
}

// findTorn looks for what a killed writer left behind a message that ends at an offset. known tells that
// the index says so; else it is the Content-Length, which counts only if a mail server has written it.
func (p *parser) findTorn(m *Message, end int64, known bool) error {
	n, err := p.lineBreak(end)
	if err != nil || n == 0 || !known && m.UID == 0 {
		return err
	}
	if m.torn, err = p.unfinished(end + int64(n)); err == nil && m.torn {
		m.next, m.torn, err = p.endOfTorn(end+int64(n), known)
	}
	return err
}

// endOfTorn returns the line break before the message that follows an unfinished one, or the end of the file. It is
// false if the index knows that message: then the one before it was finished, and something else has
// damaged it. all says that the index knows nothing of what is here.
func (p *parser) endOfTorn(off int64, all bool) (next int64, torn bool, err error) {
	if next, err = p.search(off); err != nil {
		return 0, false, err
	}
	m, err := p.parse(next, headerOnly)
	switch {
	case errors.Is(err, errLost):
		return next, true, nil
	case err != nil:
		return 0, false, err
	}
	return next, all || m.UID == 0 || m.UID >= p.known, nil
}

// endOfBatch returns the line break before the first message from an offset on that was not to come together with the
// unfinished one: that has not the next uids, nor ends in its header with the file. The index knows none.
func (p *parser) endOfBatch(next int64, uid uint32) (int64, error) {
	for {
		m, err := p.parse(next, headerOnly)
		if errors.Is(err, errLost) {
			return next, nil
		}
		if err != nil {
			return 0, err
		}
		if (m.length < 0 || m.UID <= uid) && (m.eoh > 0 || m.End < p.w.size-1) {
			return next, nil
		}
		uid = max(uid, m.UID)
		if next, err = p.search(max(m.Body-1, m.Header)); err != nil {
			return 0, err
		}
	}
}

// boundary reports whether a message can end at an offset: a line break is there that ends
// the file, or that a From_ line follows.
func (p *parser) boundary(off int64) (ok bool, err error) {
	n, err := p.lineBreak(off)
	if err != nil || n == 0 {
		return false, err
	}
	next := off + int64(n)
	if next == p.w.size {
		return true, nil
	}
	_, ok, err = p.fromLine(next)
	return ok, err
}

// unfinished reports whether a killed writer, or a power failure, left a message unfinished at an offset: its
// From_ line has zero bytes, or is the end of the file. Only where a message is known to end before, by
// the index or its Content-Length, does that mean anything.
func (p *parser) unfinished(off int64) (bool, error) {
	line, err := p.w.line(off)
	if err != nil || len(line) == 0 {
		return false, err
	}
	for i, c := range line[:min(len(line), len(fromPrefix))] {
		if c == '\n' && i > 0 { // somebody has ended the line
			break
		}
		if c != 0 && c != fromPrefix[i] {
			return false, nil
		}
	}
	line = line[:min(len(line), maxFromLine)]
	if bytes.IndexByte(line, 0) >= 0 {
		return true, nil
	}
	_, _, valid := ParseFrom(line[min(len(line), len(fromPrefix)):])
	return !valid && off+int64(len(line)) == p.w.size && line[len(line)-1] != '\n', nil
}

// search looks for the end of a body that begins at an offset.
func (p *parser) search(off int64) (int64, error) {
	sep := []byte("\nFrom ")
	for {
		b, err := p.w.at(off, windowSize)
		if err != nil {
			return 0, err
		}
		i := bytes.Index(b, sep)
		if i < 0 {
			if off+int64(len(b)) >= p.w.size {
				return p.endOfFile(off)
			}
			off += int64(len(b) - len(sep)) // a CR may be before it
			continue
		}
		at := off + int64(i)
		cr := i > 0 && b[i-1] == '\r'
		_, ok, err := p.fromLine(at + 1)
		if err != nil {
			return 0, err
		}
		if ok {
			if cr {
				at--
			}
			return at, nil
		}
		off = at + 1
	}
}

// endOfFile returns where a body ends that goes on to the end of the file, but does not
// begin after off.
func (p *parser) endOfFile(off int64) (int64, error) {
	end := p.w.size
	from := max(off, end-2)
	b, err := p.w.at(from, int(end-from))
	if err != nil {
		return 0, err
	}
	if bytes.HasSuffix(b, []byte("\n")) {
		end--
		if bytes.HasSuffix(b, []byte("\r\n")) {
			end--
		}
	}
	return end, nil
}

func (p *parser) errorAt(off int64, err error) error {
	if errors.Is(err, errLost) && off == 0 {
		return ErrNotMbox
	}
	return fmt.Errorf("offset %d: %w", off, err)
}
