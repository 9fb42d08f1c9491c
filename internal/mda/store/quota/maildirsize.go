package quota

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaildirsizeName is the name of Maildir++'s file, MaildirsizeMax the size from which on it is made anew.
const (
	MaildirsizeName = "maildirsize"
	MaildirsizeMax  = 5120
)

// staleAfter is the age from which on the file is not believed that a limit is exceeded.
const staleAfter = 15 * time.Minute

// A Maildirsize is what the file says.
type Maildirsize struct {
	Limit Limit
	Usage Usage
	lines int // about usage
}

// ParseMaildirsize reads the file. ok is false if the usage is not known; limits may be all the same, which
// known tells.
func ParseMaildirsize(text []byte) (m Maildirsize, known, ok bool) {
	whole := len(text) < MaildirsizeMax
	end := bytes.LastIndexByte(text, '\n')
	if end < 0 || bytes.IndexByte(text[:end], 0) >= 0 {
		return m, false, false
	}
	head, rest, found := strings.Cut(string(text[:end]), "\n")
	m.Limit, _ = parseLimits(head)
	if !found {
		return m, true, whole // a file without any line is one about nothing
	}
	for line := range strings.SplitSeq(rest, "\n") {
		bytes, after, ok1 := number(strings.TrimLeft(line, " \t"))
		messages, _, ok2 := number(strings.TrimLeft(after, " \t"))
		if !ok1 || !ok2 {
			return m, true, false
		}
		m.Usage = m.Usage.Plus(Usage{bytes, messages})
		m.lines++
	}
	return m, true, whole && m.Usage.Bytes >= 0 && m.Usage.Messages >= 0
}

// Believable reports whether usage need not be computed anew, where limits are in force.
func (m *Maildirsize) Believable(l Limit, written, now time.Time) bool {
	over := l.Bytes != 0 && m.Usage.Bytes > l.Bytes || l.Messages != 0 && m.Usage.Messages > l.Messages
	return !over || m.lines <= 1 && !written.Before(now.Add(-staleAfter))
}

// AppendMaildirsize appends a new file.
func AppendMaildirsize(b []byte, l Limit, u Usage) []byte {
	if l.Bytes != 0 || l.Messages == 0 {
		b = append(strconv.AppendInt(b, l.Bytes, 10), 'S')
	}
	if l.Messages != 0 {
		if l.Bytes != 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendInt(b, l.Messages, 10), 'C')
	}
	return AppendChange(append(b, '\n'), u)
}

// AppendChange appends a line about a change.
func AppendChange(b []byte, u Usage) []byte { return fmt.Appendf(b, "%d %d\n", u.Bytes, u.Messages) }

// parseLimits reads the first line. ok is false if not all of it could be read.
func parseLimits(text string) (l Limit, ok bool) {
	ok = true
	for word := range strings.SplitSeq(text, ",") {
		n, unit, isNumber := number(word)
		switch {
		case !isNumber || n < 0:
			ok = false
		case n == 0:
			ok = ok && (unit == "S" || unit == "C")
		case unit == "S":
			l.Bytes = n
		case unit == "C":
			l.Messages = n
		default:
			ok = false
		}
	}
	return l, ok
}
