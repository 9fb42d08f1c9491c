package message

import "bytes"

var delimiter = []byte("\n--")

// bodyBytes takes bytes of a body inside a multipart and returns those it left.
func (p *Parser) bodyBytes(b []byte) []byte {
	if len(p.line) > 0 || p.atLineStart() && b[0] == '-' {
		return p.bodyLine(b)
	}
	end := len(b)
	if i := bytes.Index(b, delimiter); i >= 0 {
		end = i + 1
	} else if i = bytes.LastIndexByte(b, '\n'); i >= 0 && i >= len(b)-2 {
		end = i + 1 // a delimiter may begin here that the end of b cuts
	}
	p.advance(b[:end])
	return b[end:]
}

func (p *Parser) atLineStart() bool {
	return p.newline > 0 || p.pos.physical == 0
}

// bodyLine takes bytes of a line that may be a delimiter; p.line holds what came
// before of it.
func (p *Parser) bodyLine(b []byte) []byte {
	end := bytes.IndexByte(b, '\n') + 1
	whole := end > 0
	if !whole {
		end = len(b)
	}
	line, rest := b[:end], b[end:]
	if len(p.line) > 0 || !whole {
		if room := 2*maxBoundaryLine - len(p.line); len(line) > room {
			line, rest, whole = b[:room], b[room:], true
		}
		p.line = append(p.line, line...)
		if !whole && (len(p.line) < 2 || p.line[1] == '-') {
			return nil
		}
		line = p.line
		p.line = p.line[:0]
	}
	p.checkLine(line)
	return rest
}

// checkLine takes a line of a body, or the begin of a long one, that may be a delimiter.
func (p *Parser) checkLine(line []byte) {
	i, last := p.findBoundary(line)
	if i < 0 {
		p.advance(line)
		return
	}
	p.delimit(line, i, last)
}

// delimit takes a line that is the delimiter of open boundary i.
func (p *Parser) delimit(line []byte, i int, last bool) {
	p.endOfParts(i, last)
	p.advance(line)
	p.fixed = p.pos
	if !last && line[len(line)-1] == '\n' {
		p.beginChild()
	}
}

// findBoundary returns the index of the open boundary that line names, or -1,
// and whether it is the last one of its multipart. As Dovecot does: only the
// begin of the line must match; among several, the innermost that matches the
// whole line wins, else the longest.
func (p *Parser) findBoundary(line []byte) (index int, last bool) {
	if len(line) < 2 || line[0] != '-' || line[1] != '-' {
		return -1, false
	}
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	line = line[2:min(len(line), maxBoundaryLine)]
	trimmed := bytes.TrimRight(line, " \t\r")
	dashes := bytes.HasSuffix(trimmed, []byte("--"))
	index = -1
	for i := len(p.bounds) - 1; i >= 0; i-- {
		text := p.bounds[i].text
		if !bytes.HasPrefix(line, text) || index >= 0 && len(text) <= len(p.bounds[index].text) {
			continue
		}
		index = i
		if len(text) == len(trimmed) || dashes && len(text) == len(trimmed)-2 {
			break
		}
	}
	if index >= 0 {
		last = bytes.HasPrefix(line[len(p.bounds[index].text):], []byte("--"))
	}
	return index, last
}
