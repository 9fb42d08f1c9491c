package smtp

import (
	"errors"
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

// Errors of a reply that cannot be understood.
var (
	ErrReplySyntax = errors.New("malformed SMTP reply")
	ErrReplyLength = errors.New("SMTP reply too long")
)

// Limits of a reply read by a client.
const (
	maxReplyLines = 100
	maxReplyBytes = 16 << 10
)

// ReadReply reads a reply of one or more lines. As Postfix does, a line whose
// code differs from the first is taken as it is; the last line's code counts.
func (r *Reader) ReadReply() (Reply, error) {
	var reply Reply
	var text []byte
	for n := 0; ; n++ {
		line, err := r.ReadLine()
		if err != nil && err != ErrLineTooLong {
			return Reply{}, err
		}
		code, more, rest, ok := parseReplyLine(line)
		if !ok {
			return Reply{Text: string(line)}, ErrReplySyntax
		}
		if n == maxReplyLines || len(text)+len(rest) > maxReplyBytes {
			return Reply{}, ErrReplyLength
		}
		if e, used := ParseEnhanced(string(rest[:min(len(rest), 12)])); used > 0 && int(e[0]) == code/100 {
			reply.Enhanced = e
			rest = rest[used:]
			if len(rest) > 0 {
				rest = rest[1:]
			}
		} else if n == 0 {
			reply.Enhanced = Enhanced{}
		}
		if n > 0 {
			text = append(text, '\n')
		}
		text = append(text, rest...)
		if !more {
			reply.Code = code
			reply.Text = string(text)
			return reply, nil
		}
	}
}

// parseReplyLine splits "250-text"; a line may be the bare code (RFC 5321 4.2).
func parseReplyLine(line []byte) (code int, more bool, text []byte, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, nil, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil, true
	}
	switch line[3] {
	case '-':
		return code, true, line[4:], true
	case ' ', '\t':
		return code, false, line[4:], true
	}
	return 0, false, nil, false
}
