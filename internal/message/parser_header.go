package message

import "bytes"

// maxHeaderLine is how much of one header line is kept while it is incomplete.
const maxHeaderLine = 1 << 20

// begin opens a part whose header begins at the position.
func (p *Parser) begin(part *Part) {
	part.s = p.s
	part.Offset, part.VirtualOffset = p.pos.physical, p.pos.virtual
	p.s.Parts++
	p.open = append(p.open, openPart{part: part, header: p.pos, bounds: len(p.bounds)})
	p.inHeader = true
	p.first = true
	p.field = fieldNone
	p.hasType = false
	// A message inside of another must say for itself that it is MIME.
	p.mime = part.Parent != nil && part.Parent.Flags&Multipart != 0 && part.Parent.Flags&MIME != 0
}

// beginChild opens a child of the innermost open part.
func (p *Parser) beginChild() {
	parent := p.cur()
	child := &Part{Parent: parent}
	parent.Children = append(parent.Children, child)
	p.begin(child)
	if p.s.Parts >= p.lim.Parts {
		child.Flags |= Overflow
		p.bounds = p.bounds[:0]
	}
}

// headerBytes takes bytes of a header and returns those it left.
func (p *Parser) headerBytes(b []byte) []byte {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		p.keepLine(b)
		return nil
	}
	line, rest := b[:i+1], b[i+1:]
	if len(p.line) > 0 {
		p.keepLine(line)
		line = p.line
	}
	dropped := p.dropped
	p.line, p.dropped = p.line[:0], 0
	p.headerLine(line, dropped)
	return rest
}

// keepLine appends to the incomplete line. Of a long one the middle is dropped.
func (p *Parser) keepLine(b []byte) {
	if over := len(p.line) + len(b) - maxHeaderLine; over > 0 && len(b) > 2 {
		over = min(over, len(b)-2)
		p.dropped += over
		keep := len(b) - 2 - over
		p.line = append(append(p.line, b[:keep]...), b[len(b)-2:]...)
		return
	}
	p.line = append(p.line, b...)
}

// headerLine takes one line of a header.
func (p *Parser) headerLine(line []byte, dropped int) {
	if line[0] == '-' && len(p.bounds) > 0 {
		if i, last := p.findBoundary(line); i >= 0 {
			p.boundaryInHeader(line, i, last)
			return
		}
	}
	p.advance(line)
	p.pos.physical += int64(dropped)
	p.pos.virtual += int64(dropped)
	text := trimLineEnd(line)
	if len(text) == 0 && len(line) > 0 {
		p.endHeader()
		return
	}
	if (text[0] == ' ' || text[0] == '\t') && !p.first {
		if p.field != fieldNone {
			p.extendField(line)
		}
		return
	}
	p.first = false
	p.field = fieldNone
	colon := bytes.IndexByte(text, ':')
	if colon < 0 {
		return
	}
	p.beginField(bytes.TrimRight(text[:colon], " \t"), line[colon+1:])
}

// boundaryInHeader ends a header that a boundary cuts short.
func (p *Parser) boundaryInHeader(line []byte, i int, last bool) {
	for p.inHeader {
		p.endHeader()
	}
	p.delimit(line, i, last)
}

func trimLineEnd(line []byte) []byte {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		n--
		if n > 0 && line[n-1] == '\r' {
			n--
		}
	}
	return line[:n]
}

// beginField begins to keep the field if it is one of those needed later.
func (p *Parser) beginField(name, value []byte) {
	id := lookupField(name)
	if id == fieldNone {
		return
	}
	part := p.cur()
	switch {
	case id == fieldMIMEVersion:
		p.mime = true
		return
	case id.envelope() && part.Parent != nil && part.Parent.Flags&RFC822 == 0:
		return // not the header of a message
	case part.settled(id):
		return
	case id == fieldContentType:
		p.hasType = true
		p.mime = true
	}
	part.fields.add(id, len(p.s.text))
	p.field = id
	p.extendField(bytes.TrimLeft(value, " \t"))
}

// extendField keeps one more line of the current field, with LF as line end.
func (p *Parser) extendField(line []byte) {
	f := &p.cur().fields
	text := trimLineEnd(line)
	need := len(text) + 1
	if len(p.s.text)+need > p.lim.HeaderSize {
		p.field = fieldNone
		return
	}
	p.s.text = append(p.s.text, text...)
	if len(text) < len(line) {
		p.s.text = append(p.s.text, '\n')
	}
	f.setEnd(len(p.s.text))
}

// endHeader decides what the part is and goes on with its body.
func (p *Parser) endHeader() {
	o := &p.open[len(p.open)-1]
	part := o.part
	part.Header = p.pos.since(o.header)
	o.body, p.fixed = p.pos, p.pos
	p.inHeader = false
	p.classify(part)
	switch {
	case part.Flags&RFC822 != 0:
		p.beginChild()
	case part.Flags&Multipart != 0:
		text, ok := boundaryOf(part)
		if !ok {
			break
		}
		p.bounds = append(p.bounds, boundary{text: text, part: part})
	}
}

// classify sets the flags of a part from its header.
func (p *Parser) classify(part *Part) {
	if p.mime {
		part.Flags |= MIME
	} else {
		part.fields.dropContent()
	}
	mediaType, _ := part.mediaType()
	kind, subtype, _ := bytes.Cut(mediaType, []byte("/"))
	switch {
	case !p.hasType && part.Parent != nil && part.Parent.Flags&Digest != 0:
		part.Flags |= RFC822
	case !p.hasType, bytes.EqualFold(kind, []byte("text")):
		part.Flags |= Text
	case bytes.EqualFold(mediaType, []byte("message/rfc822")):
		part.Flags |= RFC822
	case bytes.EqualFold(kind, []byte("multipart")) && len(subtype) > 0:
		part.Flags |= Multipart
		if bytes.EqualFold(subtype, []byte("digest")) {
			part.Flags |= Digest
		}
	}
	if (len(p.open) >= p.lim.Depth || p.s.Parts >= p.lim.Parts) && part.Flags&(Multipart|RFC822) != 0 {
		part.Flags = part.Flags&^(Multipart|Digest|RFC822) | Overflow
	}
}

// boundaryOf returns the boundary parameter of a multipart, cut as Dovecot cuts it.
func boundaryOf(part *Part) ([]byte, bool) {
	_, params := part.mediaType()
	for _, param := range params {
		if bytes.EqualFold(param.name, []byte("boundary")) {
			return param.value[:min(len(param.value), maxBoundary)], true
		}
	}
	return nil, false
}
