package mbox

import (
	"bytes"
	"math"
	"strconv"
)

// A headerParser reads the header of a message.
type headerParser struct {
	p   *parser
	m   *Message
	md5 digester

	off   int64
	kind  field // of the field being read
	start int64
	value []byte // of a hidden one
	at    int64  // where the value begins
	seen  [len(hiddenFields)]bool
}

func (h *headerParser) run() error {
	m := h.m
	h.off = m.Header
	whole := true // the line before was
	for {
		line, err := h.p.w.line(h.off)
		if err != nil {
			return err
		}
		if whole || len(line) == 0 {
			done, err := h.ends(line)
			if err != nil {
				return err
			}
			if done {
				h.finish()
				return nil
			}
			if line, err = h.p.w.line(h.off); err != nil { // ends may have read something else
				return err
			}
		}
		h.line(line, whole)
		h.off += int64(len(line))
		whole = line[len(line)-1] == '\n'
	}
}

// ends reports whether the header ends before a line.
func (h *headerParser) ends(line []byte) (bool, error) {
	m, p, n := h.m, h.p, len(line)
	switch {
	case n == 0: // the end of the file, whose last line break is no one's
		end, err := p.endOfFile(m.Header)
		m.Body, m.End = end, end
		return true, err
	case line[0] == '\n', n == 2 && line[0] == '\r' && line[1] == '\n':
		ok, err := p.boundary(h.off)
		if err != nil {
			return false, err
		}
		if ok { // it belongs to the next message
			m.Body, m.End = h.off, h.off
			return true, nil
		}
		m.Body, m.eoh = h.off+int64(n), n
		return true, nil
	case h.off > m.Header && bytes.HasPrefix(line, fromPrefix):
		_, ok, err := p.fromLine(h.off)
		if err != nil || !ok {
			return false, err
		}
		b, err := p.w.at(h.off-2, 2)
		if err != nil {
			return false, err
		}
		m.Body = h.off - 1
		if b[0] == '\r' {
			m.Body--
		}
		m.End = m.Body
		return true, nil
	}
	return false, nil
}

// line reads a line, or a part of a long one.
func (h *headerParser) line(line []byte, begins bool) {
	if !begins || h.off > h.m.Header && (line[0] == ' ' || line[0] == '\t') {
		h.more(line, begins)
		return
	}
	h.finish()
	name, value := cutField(line)
	h.kind, h.start = fieldOf(name), h.off
	h.at = h.off + int64(len(line)-len(value))
	if h.kind == fieldNone {
		h.md5.field(name)
		h.md5.value(value)
		return
	}
	h.value = append(h.value[:0], value...)
}

func (h *headerParser) more(line []byte, begins bool) {
	if h.kind == fieldNone {
		h.md5.value(line)
		return
	}
	if len(h.value) < maxValue {
		h.value = append(h.value, line...)
	}
}

// cutField splits a line at its colon. Without one it is all value.
func cutField(line []byte) (name, value []byte) {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return nil, line
	}
	name, value = bytes.TrimRight(line[:i], " \t"), line[i+1:]
	if len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	return name, value
}

// finish interprets the hidden field that was read, if it was one.
func (h *headerParser) finish() {
	if h.kind == fieldNone {
		return
	}
	end := min(h.off, h.limit())
	h.m.hidden = append(h.m.hidden, span{h.start, end})
	if h.seen[h.kind] && h.kind != fieldStatus && h.kind != fieldXStatus || !h.interpret() {
		h.m.broken = true
	}
	h.seen[h.kind] = true
	h.kind = fieldNone
}

// limit is where the header ends at the latest.
func (h *headerParser) limit() int64 {
	if h.m.End > 0 {
		return h.m.End
	}
	return math.MaxInt64
}

// interpret reads the value of a hidden field. It returns false for one that is to be
// removed.
func (h *headerParser) interpret() bool {
	m := h.m
	switch h.kind {
	case fieldStatus:
		return h.flags("RO", FlagSeen, flagOld)
	case fieldXStatus:
		return h.flags("AFTD", FlagAnswered, FlagFlagged, FlagDraft, FlagDeleted)
	case fieldUID:
		v, ok := h.number(math.MaxUint32 - 1)
		if !ok || v == 0 || m.From == 0 && m.Base == nil {
			return false // as c-client: the first message needs a base for its uid to count
		}
		m.UID = uint32(v)
	case fieldLength:
		v, ok := h.number(math.MaxInt64 >> 1)
		if !ok {
			return false
		}
		m.length = int64(v)
	case fieldKeywords:
		m.Keywords = words(h.value)
	case fieldBase, fieldPseudo:
		if m.From != 0 || m.Base != nil {
			return false
		}
		m.Base = parseBase(h.value, h.at)
		m.Pseudo = m.Base != nil && h.kind == fieldPseudo
		return m.Base != nil
	}
	return true
}

func (h *headerParser) flags(letters string, bits ...byte) bool {
	twice := false
	for _, c := range h.value {
		i := bytes.IndexByte([]byte(letters), c)
		if i < 0 {
			continue
		}
		if bits[i] == flagOld {
			twice = twice || h.m.Old
			h.m.Old = true
			continue
		}
		twice = twice || h.m.Flags&bits[i] != 0
		h.m.Flags |= bits[i]
	}
	return !twice
}

// number reads a number that only blanks follow.
func (h *headerParser) number(limit uint64) (uint64, bool) {
	v, err := strconv.ParseUint(string(bytes.TrimRight(h.value, " \t\r\n")), 10, 64)
	return v, err == nil && v <= limit
}

func words(value []byte) []string {
	var list []string
	for _, w := range bytes.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
		list = append(list, string(w))
	}
	return list
}

// parseBase reads "<uidvalidity> <last uid> [keyword ...]", which is at an offset of the
// file. nil if it is damaged.
func parseBase(value []byte, at int64) *Base {
	f := words(value)
	if len(f) < 2 {
		return nil
	}
	validity, err := strconv.ParseUint(f[0], 10, 32)
	last, err2 := strconv.ParseUint(f[1], 10, 32)
	if err != nil || err2 != nil || validity == 0 || last == math.MaxUint32 {
		return nil
	}
	b := &Base{UIDValidity: uint32(validity), LastUID: uint32(last), Keywords: f[2:]}
	if i := bytes.Index(value[len(f[0]):], []byte(f[1])); len(f[1]) == 10 && i >= 0 {
		b.lastAt = at + int64(len(f[0])+i)
	}
	return b
}
