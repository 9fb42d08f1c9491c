package mime

import "bytes"

// Lines cuts a content whose lines end in CRLF into lines without their ends. Lines longer than Limit
// come in pieces. It is an [io.Writer] that never fails; who gets the lines remembers what does.
type Lines struct {
	Limit int                          // in bytes, above 0
	Line  func(line []byte, more bool) // [State.Line] or the like; more: it is not the end of the line
	rest  []byte                       // what has not ended
}

// Write takes the next piece.
func (l *Lines) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			l.rest = append(l.rest, p...)
			p = nil
		} else {
			l.rest = append(l.rest, p[:n]...)
			p = p[n+1:]
		}
		for len(l.rest) > l.Limit+1 || n < 0 && len(l.rest) > l.Limit && l.rest[l.Limit] != '\r' {
			l.Line(l.rest[:l.Limit], true)
			l.rest = l.rest[:copy(l.rest, l.rest[l.Limit:])]
		}
		if n >= 0 {
			l.end()
		}
	}
	return total, nil
}

func (l *Lines) end() {
	l.Line(bytes.TrimSuffix(l.rest, []byte{'\r'}), false)
	l.rest = l.rest[:0]
}

// End passes on a last line that has no end.
func (l *Lines) End() {
	if len(l.rest) > 0 {
		l.end()
	}
}
