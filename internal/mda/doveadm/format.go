package doveadm

import (
	"unicode/utf8"
)

// A flow is "title=value" joined by blanks, a row a line.
type flow struct {
	w         *output
	columns   []column
	at        int
	streaming bool
}

func newFlow(w *output, _ bool) formatter { return &flow{w: w} }

func (f *flow) column(c *column) { f.columns = append(f.columns, *c) }

func (f *flow) title() {
	if c := &f.columns[f.at]; c.flags&hidden == 0 {
		f.w.put(c.title)
		f.w.put("=")
	}
}

func (f *flow) next() {
	if f.at++; f.at < len(f.columns) {
		f.w.put(" ")
		return
	}
	f.at = 0
	f.w.put("\n")
}

func (f *flow) value(v string) {
	f.title()
	f.w.put(v)
	f.next()
}

func (f *flow) stream(part []byte) error {
	if !f.streaming {
		f.streaming = true
		f.title()
	}
	if len(part) == 0 {
		f.next()
		f.streaming = false
	}
	f.w.Write(part) //nolint:errcheck // sticky
	return nil
}

func (f *flow) flush() {
	if f.at != 0 {
		f.w.put("\n")
		f.at = 0
	}
}

// A tab is a line of titles and values separated by tabs, a row a line. Nothing is
// escaped.
type tab struct {
	w          *output
	hideTitles bool
	columns    int
	begun      bool
	at         int
	streaming  bool
}

func newTab(w *output, hideTitles bool) formatter { return &tab{w: w, hideTitles: hideTitles} }

func (f *tab) column(c *column) {
	f.columns++
	if f.hideTitles {
		return
	}
	if f.columns > 1 {
		f.w.put("\t")
	}
	f.w.put(c.title)
}

// begin ends the line of titles.
func (f *tab) begin() {
	if !f.begun && !f.hideTitles {
		f.w.put("\n")
	}
	f.begun = true
}

func (f *tab) separate() {
	f.begin()
	if f.at > 0 {
		f.w.put("\t")
	}
}

func (f *tab) next() {
	if f.at++; f.at == f.columns {
		f.at = 0
		f.w.put("\n")
	}
}

func (f *tab) value(v string) {
	f.separate()
	f.w.put(v)
	f.next()
}

func (f *tab) stream(part []byte) error {
	if !f.streaming {
		f.streaming = true
		f.separate()
	}
	f.w.Write(part) //nolint:errcheck // sticky
	if len(part) == 0 {
		f.streaming = false
		if f.at > 0 {
			f.w.put("\t") // so Dovecot ends a stream
		}
		f.next()
	}
	return nil
}

func (f *tab) flush() { f.begin() }

// A pager is a "title: value" a line; a form feed separates rows.
type pager struct {
	w         *output
	columns   []column
	at        int
	begun     bool
	streaming bool
}

func newPager(w *output, _ bool) formatter { return &pager{w: w} }

func (f *pager) column(c *column) { f.columns = append(f.columns, *c) }

// separate begins a row.
func (f *pager) separate() {
	if f.at == 0 && f.begun {
		f.w.put("\f\n")
	}
	f.begun = true
}

func (f *pager) value(v string) {
	f.separate()
	if c := &f.columns[f.at]; c.flags&hidden == 0 {
		f.w.put(c.title)
		f.w.put(": ")
	}
	f.w.put(v)
	f.w.put("\n")
	f.next()
}

func (f *pager) stream(part []byte) error {
	if !f.streaming {
		f.streaming = true
		if c := &f.columns[f.at]; c.flags&hidden == 0 {
			f.w.put(c.title)
			f.w.put(":\n")
		}
	}
	f.w.Write(part) //nolint:errcheck // sticky
	if len(part) == 0 {
		f.streaming = false
		f.next()
	}
	return nil
}

func (f *pager) next() {
	if f.at++; f.at == len(f.columns) {
		f.at = 0
	}
}

func (f *pager) flush() {
	if f.at != 0 {
		f.w.put("\n")
		f.at = 0
	}
}

// A formatted is for commands that have a format of their own, of which none is
// there.
type formatted struct{}

func newFormatted(*output, bool) formatter { return formatted{} }

func (formatted) column(*column)      {}
func (formatted) value(string)        {}
func (formatted) stream([]byte) error { return nil }
func (formatted) flush()              {}

// width is how many columns of a terminal a value takes, as Dovecot counts: its
// characters, and every byte of what is not UTF-8.
func width(v string) int { return utf8.RuneCountInString(v) }
