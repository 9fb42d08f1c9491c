package doveadm

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

const (
	defaultWidth  = 80
	minWidth      = 30
	measuredRows  = 100 // that decide the widths
	multilineText = "table formatter doesn't support multi-line values"
)

// A table is columns of equal width, which its first rows decide. Every value is
// padded, the last of a row too.
type table struct {
	w          *output
	hideTitles bool
	available  int
	columns    []tableColumn
	waiting    []string // values of the first rows
	measured   bool
	at         int
	part       []byte // of a streamed value
}

type tableColumn struct {
	column
	shortest, longest, width int
}

func newTable(w *output, hideTitles bool) formatter {
	f := &table{w: w, hideTitles: hideTitles, available: defaultWidth}
	if size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
		f.available = max(int(size.Col), minWidth)
	}
	return f
}

func (f *table) column(c *column) {
	n := len(c.title)
	f.columns = append(f.columns, tableColumn{*c, n, n, n})
}

func (f *table) value(v string) {
	if !f.measured {
		if len(f.waiting)/len(f.columns) < measuredRows {
			f.waiting = append(f.waiting, v)
			return
		}
		f.begin()
	}
	f.write(v)
}

func (f *table) stream(part []byte) error {
	if bytes.IndexByte(part, '\n') >= 0 {
		return &fatal{exTempFail, multilineText}
	}
	if len(part) > 0 {
		f.part = append(f.part, part...)
		return nil
	}
	f.value(string(f.part))
	f.part = f.part[:0]
	return nil
}

func (f *table) flush() {
	if !f.measured && len(f.columns) > 0 {
		f.begin()
	}
}

// begin decides the widths and writes what has waited for that.
func (f *table) begin() {
	f.measured = true
	f.measure()
	f.titles()
	for _, v := range f.waiting {
		f.write(v)
	}
	f.waiting = nil
}

func (f *table) measure() {
	for i, v := range f.waiting {
		c, n := &f.columns[i%len(f.columns)], width(v)
		c.shortest = min(c.shortest, n)
		c.longest = max(c.longest, n)
		c.width = c.longest
	}
	total := len(f.columns) - 1
	for i := range f.columns {
		total += f.columns[i].longest
	}
	total = f.shrink(total)
	if total < f.available {
		f.columns[f.expanding()].width += (f.available - total) / 2
	}
}

// shrink takes from the columns, the last first, until the row fits or nothing more
// can be taken. As in Dovecot, half of what a column could give is taken without
// being counted; that the row fits shows only when one column can give all that
// is missing.
func (f *table) shrink(total int) int {
	for total > f.available {
		before := total
		for i := len(f.columns) - 1; i >= 0; i-- {
			c := &f.columns[i]
			spare := c.width - c.shortest
			if total-spare <= f.available {
				c.width -= total - f.available
				total = f.available
				break
			}
			switch {
			case spare == 1:
				c.width--
			case spare > 0:
				c.width -= spare / 2
			}
		}
		if total == before {
			break
		}
	}
	return total
}

// expanding is the column that gets what is left.
func (f *table) expanding() int {
	for i := range f.columns {
		if f.columns[i].flags&expand != 0 {
			return i
		}
	}
	return len(f.columns) - 1
}

func (f *table) titles() {
	shown := false
	for i := range f.columns {
		shown = shown || f.columns[i].flags&hidden == 0
	}
	if f.hideTitles || !shown {
		return
	}
	for i := range f.columns {
		f.write(f.columns[i].title)
	}
}

// write writes the next value.
func (f *table) write(v string) {
	c := &f.columns[f.at]
	blanks := c.width - width(v)
	if c.flags&right != 0 {
		f.w.pad(blanks)
	}
	f.w.put(v)
	if c.flags&right == 0 {
		f.w.pad(blanks)
	}
	if f.at++; f.at == len(f.columns) {
		f.at = 0
		f.w.put("\n")
		return
	}
	f.w.put(" ")
}
