package message

import (
	"bytes"
	"io"
)

// Limits bound what is kept of a message. Zero fields mean the defaults.
type Limits struct {
	Depth      int // nesting of parts; deeper ones are not looked into
	Parts      int // parts of one message; further ones are not told apart
	HeaderSize int // bytes of header fields kept in all
}

// The defaults of Dovecot 2.3 for depth and parts. Fields kept are limited so
// that a structure in a cache has a known worst size.
const (
	defaultDepth      = 100
	defaultParts      = 10000
	defaultHeaderSize = 1 << 20
)

// maxBoundary is the length that boundaries are cut to, and with the dashes
// before and after it the part of a line that is compared with them.
const (
	maxBoundary     = 80
	maxBoundaryLine = 2 + maxBoundary + 2
)

// A mark is a position in the message.
type mark struct {
	physical, virtual int64
	lines             uint32
}

func (m mark) since(start mark) Size {
	return Size{
		Physical: m.physical - start.physical,
		Virtual:  m.virtual - start.virtual,
		Lines:    m.lines - start.lines,
	}
}

// A boundary is the delimiter of an open multipart.
type boundary struct {
	text []byte
	part *Part
}

// An open part is one whose end has not been seen.
type openPart struct {
	part   *Part
	header mark
	body   mark
	bounds int // open boundaries at its begin
}

// A Parser finds the structure of a message whose bytes are written to it.
type Parser struct {
	lim    Limits
	s      *Structure
	open   []openPart
	bounds []boundary

	pos      mark
	newline  uint8 // length of the line end just before pos: 0, 1 or 2
	sawCR    bool  // the byte before pos is CR
	fixed    mark  // a line end here belongs to a header or delimiter
	inHeader bool

	line    []byte // an incomplete line at pos
	dropped int    // bytes of it that were not kept

	first   bool // no header line of this part was seen
	field   fieldID
	hasType bool
	mime    bool
}

// NewParser returns a parser with the given limits.
func NewParser(l Limits) *Parser {
	p := &Parser{lim: l}
	if p.lim.Depth <= 0 {
		p.lim.Depth = defaultDepth
	}
	if p.lim.Parts <= 0 {
		p.lim.Parts = defaultParts
	}
	if p.lim.HeaderSize <= 0 {
		p.lim.HeaderSize = defaultHeaderSize
	}
	p.Reset()
	return p
}

// Reset makes the parser ready for another message.
func (p *Parser) Reset() {
	*p = Parser{lim: p.lim, open: p.open[:0], bounds: p.bounds[:0], line: p.line[:0]}
	p.s = &Structure{}
	p.begin(&p.s.Root)
}

// Parse reads r to its end and returns the structure found. The error is r's.
func Parse(r io.Reader, l Limits) (*Structure, error) {
	p := NewParser(l)
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		p.Write(buf[:n]) //nolint:errcheck // it never fails
		if err == io.EOF {
			return p.Close()
		}
		if err != nil {
			return nil, err
		}
	}
}

// Write takes the next bytes of the message. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		switch {
		case p.inHeader:
			b = p.headerBytes(b)
		case len(p.bounds) == 0:
			p.skip(b)
			b = nil
		default:
			b = p.bodyBytes(b)
		}
	}
	return n, nil
}

// Close ends the message and returns its structure. No input is an error. The
// parser can be used again after Reset.
func (p *Parser) Close() (*Structure, error) {
	if len(p.line) > 0 {
		p.endOfInput()
	}
	if p.inHeader {
		p.endHeader()
	}
	for p.inHeader { // message/rfc822 without a message
		p.endHeader()
	}
	p.closeParts(0, p.pos)
	s := p.s
	p.s = nil
	return s, nil
}

// endOfInput takes a last line that has no line end.
func (p *Parser) endOfInput() {
	line := p.line
	p.line = p.line[:0]
	if p.inHeader {
		p.headerLine(line, p.dropped)
		return
	}
	if i, last := p.findBoundary(line); i >= 0 {
		p.endOfParts(i, last)
	}
	p.advance(line)
}

// skip moves over bytes that need not be looked at.
func (p *Parser) skip(b []byte) {
	p.advance(b)
}

// advance moves the position over b.
func (p *Parser) advance(b []byte) {
	if len(b) == 0 {
		return
	}
	lines := bytes.Count(b, lf)
	bare := lines
	if lines > 0 {
		bare -= p.countCRLF(b)
	}
	p.pos.physical += int64(len(b))
	p.pos.virtual += int64(len(b) + bare)
	p.pos.lines += uint32(lines)
	p.setLineEnd(b)
	if bytes.IndexByte(b, 0) >= 0 {
		p.cur().Flags |= NUL
	}
}

var lf = []byte{'\n'}

// countCRLF counts the line feeds of b that follow a CR.
func (p *Parser) countCRLF(b []byte) int {
	n := 0
	if p.sawCR && b[0] == '\n' {
		n++
	}
	cr := bytes.IndexByte(b, '\r')
	if cr < 0 {
		return n
	}
	for b = b[cr:]; len(b) > 1; {
		if b[1] == '\n' {
			n++
		}
		next := bytes.IndexByte(b[1:], '\r')
		if next < 0 {
			break
		}
		b = b[1+next:]
	}
	return n
}

// setLineEnd remembers what line end, if any, b ends with.
func (p *Parser) setLineEnd(b []byte) {
	last := len(b) - 1
	switch {
	case b[last] != '\n':
		p.newline = 0
	case last > 0 && b[last-1] == '\r' || last == 0 && p.sawCR:
		p.newline = 2
	default:
		p.newline = 1
	}
	p.sawCR = b[last] == '\r'
}

// endOfParts closes what is inside the multipart of boundary i, and the
// boundary too if it was its last.
func (p *Parser) endOfParts(i int, last bool) {
	owner := p.bounds[i].part
	depth := len(p.open)
	for depth > 0 && p.open[depth-1].part != owner {
		depth--
	}
	// The line end before a boundary belongs to it (RFC 2046 5.1.1).
	end := p.pos
	if end != p.fixed {
		end = p.beforeLineEnd()
	} else {
		p.cutHeader(p.open[depth:])
	}
	p.closeParts(depth, end)
	if last {
		p.bounds = p.bounds[:i]
		return
	}
	p.bounds = p.bounds[:i+1]
}

// beforeLineEnd returns the position without the line end just before it.
func (p *Parser) beforeLineEnd() mark {
	m := p.pos
	if p.newline > 0 {
		m.physical -= int64(p.newline)
		m.virtual -= 2
		m.lines--
	}
	return m
}

// cutHeader takes the line end before a boundary from the header of the
// innermost part that has one, since it has no body.
func (p *Parser) cutHeader(open []openPart) {
	for i := len(open) - 1; i >= 0 && open[i].body == p.pos; i-- {
		if o := &open[i]; o.part.Header.Physical > 0 {
			end := p.beforeLineEnd()
			o.part.Header = end.since(o.header)
			for _, inside := range open[i+1:] {
				inside.part.Offset, inside.part.VirtualOffset = end.physical, end.virtual
			}
			return
		}
	}
}

// closeParts ends the open parts from the one at depth on.
func (p *Parser) closeParts(depth int, end mark) {
	for i := depth; i < len(p.open); i++ {
		o := &p.open[i]
		o.part.Body = end.since(o.body)
	}
	p.open = p.open[:depth]
}

func (p *Parser) cur() *Part { return p.open[len(p.open)-1].part }
