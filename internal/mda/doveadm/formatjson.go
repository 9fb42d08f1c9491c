package doveadm

import (
	"fmt"
	"unicode/utf8"
)

// A jsonFormat is one array with an object for each row, on one line that has no
// end. Keys are the columns' keys; values are strings, except for numbers.
type jsonFormat struct {
	w         *output
	columns   []column
	at        int
	begun     bool
	streaming bool
	partial   []byte // the beginning of a character at the end of a part
	finished  bool
	scratch   []byte
}

func newJSON(w *output, _ bool) formatter { return &jsonFormat{w: w} }

func (f *jsonFormat) column(c *column) { f.columns = append(f.columns, *c) }

// begin writes what comes before a value.
func (f *jsonFormat) begin() {
	b := f.scratch[:0]
	switch {
	case f.at > 0:
		b = append(b, ',')
	case f.begun:
		b = append(b, ",{"...)
	default:
		b = append(b, "[{"...)
	}
	f.begun = true
	b = appendJSON(append(b, '"'), []byte(f.columns[f.at].key))
	f.scratch = append(b, "\":"...)
}

func (f *jsonFormat) next() {
	if f.at++; f.at == len(f.columns) {
		f.at = 0
		f.scratch = append(f.scratch, '}')
	}
	f.write()
}

func (f *jsonFormat) write() {
	f.w.Write(f.scratch) //nolint:errcheck // sticky
	f.scratch = f.scratch[:0]
}

func (f *jsonFormat) value(v string) {
	f.begin()
	if f.columns[f.at].flags&number != 0 {
		f.scratch = append(f.scratch, v...)
	} else {
		f.scratch = append(appendJSON(append(f.scratch, '"'), []byte(v)), '"')
	}
	f.next()
}

func (f *jsonFormat) stream(part []byte) error {
	if !f.streaming {
		f.streaming = true
		f.begin()
		f.scratch = append(f.scratch, '"')
	}
	if len(part) == 0 {
		f.scratch = append(appendJSON(f.scratch, f.partial), '"')
		f.partial = f.partial[:0]
		f.streaming = false
		f.next()
		return nil
	}
	part = append(f.partial, part...)
	n := len(part) - incomplete(part)
	f.scratch = appendJSON(f.scratch, part[:n])
	f.partial = append([]byte(nil), part[n:]...)
	f.write()
	return nil
}

// incomplete is how many bytes at the end of b may be the beginning of a character.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if utf8.RuneStart(b[len(b)-n]) {
			if utf8.FullRune(b[len(b)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

func (f *jsonFormat) flush() {
	if f.finished {
		return
	}
	f.finished = true
	if !f.begun {
		f.w.put("[")
	}
	f.w.put("]")
}

// appendJSON appends s as the inside of a JSON string. What is not UTF-8 becomes
// U+FFFD.
func appendJSON(b, s []byte) []byte {
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		s = s[n:]
		switch {
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == '\u2028' || r == '\u2029':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
