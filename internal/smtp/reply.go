package smtp

import (
	"strconv"
	"strings"
)

// A Reply is what a server answers. As an error it says why something was
// refused, with the exact words for the client; it is written in one place.
type Reply struct {
	Code     int
	Enhanced Enhanced // zero: none, as in the answers to HELO and EHLO
	Text     string   // lines separated by "\n"
}

// Append appends the reply as it goes over the wire. A reply of several lines
// repeats the codes on each (RFC 5321 4.2.1, RFC 2034 4).
func (r Reply) Append(b []byte) []byte {
	text := r.Text
	for {
		line, rest, more := strings.Cut(text, "\n")
		b = strconv.AppendInt(b, int64(r.Code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if !r.Enhanced.IsZero() {
			b = r.Enhanced.Append(b)
			b = append(b, ' ')
		}
		b = append(b, line...)
		b = append(b, "\r\n"...)
		if !more {
			return b
		}
		text = rest
	}
}

// AppendText appends code, enhanced code and text without line end, as log
// lines show them. Lines are joined by blanks.
func (r Reply) AppendText(b []byte) []byte {
	b = strconv.AppendInt(b, int64(r.Code), 10)
	b = append(b, ' ')
	if !r.Enhanced.IsZero() {
		b = r.Enhanced.Append(b)
		b = append(b, ' ')
	}
	start := len(b)
	b = append(b, r.Text...)
	for i := start; i < len(b); i++ {
		if b[i] == '\n' {
			b[i] = ' '
		}
	}
	return b
}

// Error returns code, enhanced code and text in one line.
func (r Reply) Error() string { return string(r.AppendText(nil)) }

// Temporary reports whether the same command may succeed later.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }
