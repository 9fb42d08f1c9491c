package cleanup

import (
	"bytes"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// headerKind says what is done with a header.
type headerKind uint8

const (
	hdrPass    headerKind = iota // goes on as it is
	hdrDrop                      // message_drop_headers
	hdrAddress                   // addresses are completed
	hdrValue                     // the whole value is looked at
	hdrNote                      // that it is there is noted
)

// seen is the set of headers found that may have to be added.
type seen uint16

const (
	seenDate seen = 1 << iota
	seenFrom
	seenMessageID
	seenRecipient // To or Cc
	seenResent    // any Resent-*
	seenResentDate
	seenResentFrom
	seenResentMessageID
)

// marks are the headers noted in the seen set.
var marks = map[string]seen{
	"date": seenDate, "from": seenFrom, "message-id": seenMessageID,
	"to": seenRecipient, "cc": seenRecipient,
	"resent-date": seenResentDate, "resent-from": seenResentFrom, "resent-message-id": seenResentMessageID,
	"resent-to": seenRecipient, "resent-cc": seenRecipient,
}

// headerTable lists the headers that are not merely passed on (RFC 5322 3.6
// and older ones that hold addresses).
func headerTable(drop []string) map[string]headerKind {
	t := map[string]headerKind{
		"received": hdrNote, "date": hdrNote, "message-id": hdrValue,
		"resent-date": hdrNote, "resent-message-id": hdrValue, "content-transfer-encoding": hdrValue,
	}
	for _, name := range rfc822.AddressHeaders() {
		t[name] = hdrAddress
	}
	for _, name := range drop {
		if name = strings.ToLower(name); !slices.Contains(mimeHeaders, name) {
			t[name] = hdrDrop
		}
	}
	return t
}

// mimeHeaders are those that say how the content is to be read. They are not dropped.
var mimeHeaders = []string{
	"mime-version", "content-type", "content-transfer-encoding", "content-description", "content-disposition", "content-id",
}

// header is the logical header under way.
type header struct {
	kind headerKind
	open bool   // there is one, continuation lines belong to it
	size int    // of what was passed on, counted as text is
	name int    // length of the name
	text []byte // of those that must be seen as a whole: lines with "\n" between them
	out  []byte // scratch
}

// maxHeaderName is the longest name that is looked up.
const maxHeaderName = 32

// headerPart takes the part of p that belongs to the header and returns what
// belongs to the body. Lines that go on unchanged are written together.
func (m *Message) headerPart(p []byte) (body []byte) {
	run := 0
	for i := 0; i < len(p); {
		n := bytes.IndexByte(p[i:], '\n')
		if n < 0 {
			m.write(p[run:i])
			return m.partialLine(p[i:])
		}
		line := p[i : i+n+1]
		if len(m.partial) > 0 || m.cut {
			m.write(p[run:i])
			run, i = i+n+1, i+n+1
			if rest, end := m.completeLine(line); end {
				m.write(rest)
				return p[i:]
			}
			continue
		}
		switch m.headerLine(line) {
		case linePass:
			i += n + 1
		case lineTaken:
			m.write(p[run:i])
			i += n + 1
			run = i
		case lineReplaced:
			m.write(p[run:i])
			m.write(m.header.out)
			i += n + 1
			run = i
		case lineBody:
			m.write(p[run:i])
			m.lastHeader()
			m.blankBefore(line)
			return p[i:]
		}
	}
	m.write(p[run:])
	return nil
}

// verdict says what becomes of a line.
type verdict uint8

const (
	linePass     verdict = iota // to be written as it is
	lineTaken                   // written otherwise, later or never
	lineReplaced                // header.out is to be written for it
	lineBody                    // the header ended before it
)

// partialLine keeps the beginning of a line. As soon as it cannot be a header
// the body begins.
func (m *Message) partialLine(p []byte) (body []byte) {
	if m.cut {
		return nil
	}
	m.partial = append(m.partial, p...)
	if couldBeHeader(m.partial, m.header.open) {
		// Lines are taken in pieces, until the limit is reached.
		if piece := m.c.set.LineLengthLimit; len(m.partial) > (m.c.set.HeaderSizeLimit/piece+1)*piece {
			m.partial = m.partial[:(m.c.set.HeaderSizeLimit/piece+1)*piece]
			m.cut = true
		}
		return nil
	}
	body = m.partial
	m.partial = m.partial[:0]
	m.lastHeader()
	m.blankBefore(body)
	return body
}

// completeLine is headerLine for a line that came in parts.
func (m *Message) completeLine(line []byte) (rest []byte, end bool) {
	if m.cut {
		m.cut = false
		line = append(m.partial, "\r\n"...)
	} else {
		line = append(m.partial, line...)
	}
	m.partial = line[:0]
	v := m.headerLine(line)
	if v == lineBody {
		m.lastHeader()
		m.blankBefore(line)
		return line, true
	}
	m.take(line, v)
	return nil, false
}

// take writes a line of the header that may be written now.
func (m *Message) take(line []byte, v verdict) {
	switch v {
	case linePass:
		m.write(line)
	case lineReplaced:
		m.write(m.header.out)
	}
}

// couldBeHeader reports whether more text can make p a header line.
func couldBeHeader(p []byte, open bool) bool {
	if len(p) == 0 || p[0] == '\r' && len(p) == 1 {
		return true
	}
	if p[0] == ' ' || p[0] == '\t' {
		return open
	}
	for _, c := range p {
		if c == ':' {
			_, ok := headerName(p)
			return ok
		}
		if (c <= ' ' && c != ' ' && c != '\t') || c > '~' {
			return false
		}
	}
	return true
}

// headerName returns the length of the name of a header line, and whether it is one:
// printable characters, blanks, a colon (RFC 5322 3.6.8 and 4.5).
func headerName(line []byte) (n int, ok bool) {
	for n < len(line) && line[n] > ' ' && line[n] <= '~' && line[n] != ':' {
		n++
	}
	if n == 0 {
		return 0, false
	}
	i := n
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	return n, i < len(line) && line[i] == ':'
}

// headerLine looks at one complete line.
func (m *Message) headerLine(line []byte) verdict {
	if line[0] == ' ' || line[0] == '\t' {
		if !m.header.open {
			return lineBody
		}
		return m.continuation(line)
	}
	name, ok := headerName(line)
	if !ok {
		return lineBody
	}
	m.endHeader()
	h := &m.header
	h.open, h.kind, h.name, h.size = true, hdrPass, name, len(line)
	if name <= maxHeaderName {
		var lower [maxHeaderName]byte
		for i, c := range line[:name] {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			lower[i] = c
		}
		h.kind = m.c.headers[string(lower[:name])]
		if h.kind != hdrPass {
			m.mark(lower[:name])
			if h.kind == hdrNote {
				h.kind = hdrPass
			}
		} else if name > len("resent-") && string(lower[:len("resent-")]) == "resent-" {
			m.seen |= seenResent
		}
	}
	text := withoutEnd(line)
	if h.kind == hdrPass && line[name] == ':' && len(text) <= m.c.set.HeaderSizeLimit {
		h.size = len(text)
		return linePass
	}
	if h.kind != hdrDrop {
		h.text = h.text[:0]
		m.gather(text)
		if line[name] != ':' { // blanks before the colon go
			colon := bytes.IndexByte(h.text, ':')
			h.text = append(h.text[:name], h.text[colon:]...)
		}
		if h.kind == hdrPass {
			h.kind = hdrValue
		}
	}
	return lineTaken
}

// withoutEnd is a line without CRLF or LF.
func withoutEnd(line []byte) []byte { return bytes.TrimSuffix(bytes.TrimSuffix(line, lfByte), crByte) }

// gather adds a line to the header under way, in pieces as long as there is less than the
// limit. The header is cut when it is written.
func (m *Message) gather(line []byte) {
	h, piece := &m.header, m.c.set.LineLengthLimit
	if len(h.text) >= m.c.set.HeaderSizeLimit {
		return
	}
	if len(h.text) > 0 {
		h.text = append(h.text, '\n')
	}
	h.text = append(h.text, line[:min(piece, len(line))]...)
	for line = line[min(piece, len(line)):]; len(line) > 0 && len(h.text) < m.c.set.HeaderSizeLimit; line = line[min(piece, len(line)):] {
		h.text = append(h.text, line[:min(piece, len(line))]...)
	}
}

// mark notes that a header is there.
func (m *Message) mark(name []byte) {
	m.seen |= marks[string(name)]
	if len(name) > 7 && name[0] == 'r' && string(name[:7]) == "resent-" {
		m.seen |= seenResent
	}
	if len(name) == len("received") && string(name) == "received" {
		m.hop()
	}
}

// continuation adds a folded line to the header under way.
func (m *Message) continuation(line []byte) verdict {
	h := &m.header
	switch h.kind {
	case hdrPass:
		keep, all := m.cutLine(h.size+1, withoutEnd(line))
		h.size += 1 + len(withoutEnd(line))
		if all {
			return linePass
		}
		h.kind = hdrDrop // what follows of it
		if keep != nil {
			h.out = append(append(h.out[:0], keep...), "\r\n"...)
			return lineReplaced
		}
	case hdrAddress, hdrValue:
		m.gather(withoutEnd(line))
	}
	return lineTaken
}

// cutLine is what header_size_limit leaves of a line that begins at an offset in its header:
// nothing, if most of the header is there.
func (m *Message) cutLine(offset int, line []byte) (keep []byte, all bool) {
	limit := m.c.set.HeaderSizeLimit
	if offset+len(line) <= limit {
		return line, true
	}
	if float64(offset) > 0.9*float64(limit) {
		return nil, false
	}
	return line[:limit-offset], false
}

// outHeader writes a header.
func (m *Message) outHeader(text []byte) { m.write(m.formatHeader(text)) }

// formatHeader is a header as it is queued, cut where it is too long. Lines that do not begin
// with a blank are given a tab. The slice is valid until the next header.
func (m *Message) formatHeader(text []byte) []byte {
	b := m.header.out[:0]
	offset := 0
	for line := range bytes.SplitSeq(text, lfByte) {
		keep, all := m.cutLine(offset, line)
		if offset > 0 && keep == nil {
			break
		}
		if offset > 0 && (len(line) == 0 || line[0] != ' ' && line[0] != '\t') {
			b = append(b, '\t')
		}
		b = append(append(b, keep...), "\r\n"...)
		if !all {
			break
		}
		offset += len(line) + 1
	}
	m.header.out = b
	return b
}

// endHeader finishes the header under way: all its lines are there.
func (m *Message) endHeader() {
	h := &m.header
	if !h.open {
		return
	}
	h.open = false
	switch h.kind {
	case hdrAddress:
		m.addressHeader()
	case hdrValue:
		m.valueHeader()
	}
}

// hop counts a Received header. A message with many of them is taken to loop
// (RFC 5321 6.3).
func (m *Message) hop() {
	if m.hops++; m.hops < m.c.set.HopcountLimit || m.err != nil {
		return
	}
	m.c.log.Warningf("%s: message rejected: hopcount exceeded", m.id)
	m.refuse(tooManyHops, replyHops)
	if m.filter == nil {
		m.err = replyHops // nothing looks at the rest
	}
}

// valueHeader logs the message id; a message that was resent has another.
func (m *Message) valueHeader() {
	h := &m.header
	name, value := h.text[:h.name], h.text[h.name+1:]
	switch {
	case equalFold(name, "message-id"):
		m.logID("message-id=", value)
	case equalFold(name, "resent-message-id"):
		m.logID("resent-message-id=", value)
	case equalFold(name, "content-transfer-encoding"):
		m.noteEncoding(value)
	}
	m.outHeader(h.text)
}

// noteEncoding takes a message for 8-bit whose header says so.
func (m *Message) noteEncoding(value []byte) {
	value = bytes.TrimSpace(value)
	if m.c.set.Detect8BitEncoding && (equalFold(value, "8bit") || equalFold(value, "binary")) {
		m.encoding = "8bit"
	}
}

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// blankBefore ends the header with an empty line where the message has none.
func (m *Message) blankBefore(line []byte) {
	if len(line) > 0 && line[0] != '\r' && line[0] != '\n' {
		m.write(crlf)
	}
}

var crlf = []byte("\r\n")
