package sendmail

import (
	"bytes"
	"errors"
	"strings"
)

// maxHeader bounds what is kept of one header, in bytes (Postfix's
// header_size_limit).
const maxHeader = 102400

// errHeader says that a header with recipients is too large: some of them would
// be lost.
var errHeader = errors.New("message header too long")

// An extractor finds recipients in the header of a message. If the message was
// resent, those of the Resent- headers are the recipients.
type extractor struct {
	header  []byte // the one under way
	done    bool   // the body has begun
	partial bool   // the line goes on
	resent  bool
	rcpts   []string
	again   []string // of Resent- headers
}

// recipientFields are the headers with recipients, and whether they are those of a
// message that was resent.
var recipientFields = map[string]bool{
	"to": false, "cc": false, "bcc": false, "resent-to": true, "resent-cc": true, "resent-bcc": true,
}

// line takes the next line of the message, or a piece of one.
func (x *extractor) line(l textLine) error {
	if x.done {
		return nil
	}
	if !x.partial && (len(l.text) == 0 || l.text[0] != ' ' && l.text[0] != '\t') {
		x.end()
		if !isHeader(l.text) {
			x.done = true
			return nil
		}
	}
	if len(x.header)+len(l.text) > maxHeader {
		begin := x.header
		if len(begin) == 0 {
			begin = l.text
		}
		if _, ok := recipientFields[headerName(begin)]; ok {
			return errHeader
		}
		l.text = l.text[:max(0, maxHeader-len(x.header))]
	}
	x.header = append(x.header, l.text...)
	if x.partial = l.continues; !x.partial {
		x.header = append(x.header, '\n')
	}
	return nil
}

// isHeader tells whether a line begins a header (RFC 5322 3.6.8): a name without
// blanks and a colon, which blanks may precede.
func isHeader(line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte{':'})
	name = bytes.TrimRight(name, " \t")
	return ok && len(name) > 0 && !bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
}

func headerName(header []byte) string {
	name, _, _ := bytes.Cut(header, []byte{':'})
	return strings.ToLower(string(bytes.TrimRight(name, " \t")))
}

// end ends the header under way.
func (x *extractor) end() {
	header := x.header
	x.header = x.header[:0]
	resent, ok := recipientFields[headerName(header)]
	if !ok || x.resent && !resent {
		return
	}
	_, value, _ := bytes.Cut(header, []byte{':'})
	found := addresses(string(value))
	if !resent {
		x.rcpts = append(x.rcpts, found...)
		return
	}
	x.resent = true
	x.again = append(x.again, found...)
}

// recipients are those found, once the message has ended.
func (x *extractor) recipients() []string {
	if !x.done {
		x.end()
	}
	if x.resent {
		return x.again
	}
	return x.rcpts
}
