package mbox

import (
	"bytes"
	"time"
)

// fromPrefix begins each message.
var fromPrefix = []byte("From ")

// maxFromLine bounds how much of a From_ line is looked at.
const maxFromLine = 8 << 10

// AppendFrom writes the From_ line of a message. The time is written as local time.
func AppendFrom(b []byte, sender string, t time.Time) []byte {
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	b = append(b, fromPrefix...)
	for i := 0; i < len(sender); i++ {
		if c := sender[i]; c > ' ' && c != 0x7f {
			b = append(b, c)
		}
	}
	b = append(b, ' ', ' ')
	b = t.Local().AppendFormat(b, "Mon Jan 02 15:04:05 2006")
	return append(b, '\n')
}

// ParseFrom reads what follows "From " in a From_ line: a sender, a date as asctime(3)
// writes it, and anything. Seconds may be missing; a time zone may be before the year, where
// it counts for nothing, or after it. "Thu, 9 Nov 2002 22:33:52" is a date, too. ok is
// false if it is no From_ line.
func ParseFrom(line []byte) (sender string, t time.Time, ok bool) {
	line = bytes.TrimRight(line, "\r\n")
	n := senderLen(line)
	if n < 0 {
		return "", t, false
	}
	c := fromCursor{rest: bytes.TrimLeft(line[n:], " ")}
	if len(c.rest) < len("Thu Nov  9 22:33 2001") {
		return "", t, false
	}
	c.skip(4) // day of the week
	t, ok = c.date()
	return string(line[:n]), t, ok
}

// senderLen returns the length of the sender, which may begin with a quoted local part;
// -1 if that does not end.
func senderLen(line []byte) int {
	i := 0
	if len(line) > 0 && line[0] == '"' {
		escaped := false
		for i = 1; ; i++ {
			if i >= len(line) {
				return -1
			}
			if line[i] == '"' && !escaped {
				break
			}
			escaped = line[i] == '\\'
		}
	}
	for i < len(line) && line[i] != ' ' {
		i++
	}
	return i
}

// A fromCursor reads a date. The first error makes all that follows fail.
type fromCursor struct {
	rest []byte
	bad  bool
}

func (c *fromCursor) skip(n int) {
	if len(c.rest) < n {
		c.bad = true
		n = len(c.rest)
	}
	c.rest = c.rest[n:]
}

func (c *fromCursor) is(b byte) bool { return len(c.rest) > 0 && c.rest[0] == b }

func (c *fromCursor) expect(b byte) {
	if !c.is(b) {
		c.bad = true
	}
	c.skip(1)
}

func (c *fromCursor) digits(n int) bool {
	if len(c.rest) < n {
		return false
	}
	for _, d := range c.rest[:n] {
		if d < '0' || d > '9' {
			return false
		}
	}
	return true
}

// number reads a number of n digits.
func (c *fromCursor) number(n int) (v int) {
	if !c.digits(n) {
		c.bad = true
		return 0
	}
	for _, d := range c.rest[:n] {
		v = 10*v + int(d-'0')
	}
	c.skip(n)
	return v
}

// dayOfMonth reads one digit or two.
func (c *fromCursor) dayOfMonth() int {
	n := 1
	if c.digits(2) {
		n = 2
	}
	return max(c.number(n), 1)
}

const months = "jan feb mar apr may jun jul aug sep oct nov dec "

func (c *fromCursor) month() time.Month {
	if len(c.rest) < 4 || c.rest[3] != ' ' {
		c.bad = true
		return 0
	}
	i := bytes.Index([]byte(months), append(bytes.ToLower(c.rest[:3]), ' '))
	if i < 0 || i%4 != 0 {
		c.bad = true
		return 0
	}
	c.skip(4)
	return time.Month(i/4 + 1)
}

// clock reads hour, minute and, if they are there, seconds.
func (c *fromCursor) clock() (hour, minute, second int) {
	hour = c.number(2)
	c.expect(':')
	minute = c.number(2)
	if c.is(':') {
		c.skip(1)
		second = c.number(2)
	}
	return hour, minute, second
}

func (c *fromCursor) date() (time.Time, bool) {
	other := *c
	month := c.month()
	if c.bad {
		*c = other
		return c.otherDate()
	}
	if c.is(' ') {
		c.skip(1)
	}
	day := c.dayOfMonth()
	c.expect(' ')
	hour, minute, second := c.clock()
	c.expect(' ')
	if !c.bad && !c.digits(4) { // a time zone
		i := bytes.IndexByte(c.rest, ' ')
		if i < 0 {
			return time.Time{}, false
		}
		c.skip(i + 1)
	}
	year := c.number(4)
	return time.Date(year, month, day, hour, minute, second, 0, c.zone()), !c.bad
}

// otherDate reads a date like "Thu, 9 Nov 2002 22:33:52", behind the comma.
func (c *fromCursor) otherDate() (time.Time, bool) {
	c.expect(' ')
	day := c.dayOfMonth()
	c.expect(' ')
	month := c.month()
	year := c.number(4)
	c.expect(' ')
	hour, minute, second := c.clock()
	return time.Date(year, month, day, hour, minute, second, 0, c.zone()), !c.bad
}

// zone reads a zone behind the date.
func (c *fromCursor) zone() *time.Location {
	if len(c.rest) < 6 || c.rest[0] != ' ' || c.rest[1] != '-' && c.rest[1] != '+' {
		return time.Local
	}
	z := fromCursor{rest: c.rest[2:]}
	offset := 3600*z.number(2) + 60*z.number(2)
	if z.bad {
		return time.Local
	}
	if c.rest[1] == '-' {
		offset = -offset
	}
	return time.FixedZone("", offset)
}
