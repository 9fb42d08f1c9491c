package doveadm

import (
	"bufio"
	"io"
	"strconv"
)

// columnFlags say how formatters treat a column.
type columnFlags uint8

const (
	hidden columnFlags = 1 << iota // no title in flow and pager, and in table if all are so
	right                          // right-justified in tables
	expand                         // takes the space that is left in tables
	number                         // without quotes in JSON
	sticky                         // printer.stick sets the value for all rows
)

// A column is one of the values that each row of output has.
type column struct {
	key   string // in JSON
	title string
	flags columnFlags
}

// A formatter writes rows of values. The columns come first, then values in their
// order, then flush. What cannot be written is noticed by the output.
type formatter interface {
	column(c *column)
	value(v string)
	// stream adds to a long value, which an empty part ends.
	stream(part []byte) error
	flush()
}

// formatters makes those that -f can name.
var formatters = map[string]func(w *output, hideTitles bool) formatter{
	"flow":      newFlow,
	"tab":       newTab,
	"table":     newTable,
	"pager":     newPager,
	"json":      newJSON,
	"formatted": newFormatted,
}

// A printer gives values to a formatter and fills in sticky columns.
type printer struct {
	f       formatter
	columns []column
	stuck   []string // values of sticky columns
	at      int      // the next column
}

func newPrinter(f formatter) *printer { return &printer{f: f} }

func (p *printer) column(c column) {
	p.columns = append(p.columns, c)
	p.stuck = append(p.stuck, "")
	p.f.column(&c)
}

// stick sets the value of a sticky column.
func (p *printer) stick(key, value string) {
	for i := range p.columns {
		if p.columns[i].key == key {
			p.stuck[i] = value
		}
	}
}

// stick sets the value of a sticky column, if columns are printed.
func (in *invocation) stick(key, value string) {
	if in.print != nil {
		in.print.stick(key, value)
	}
}

// stickies prints the sticky columns that come next.
func (p *printer) stickies() {
	for {
		if p.at == len(p.columns) {
			p.at = 0
		}
		if p.columns[p.at].flags&sticky == 0 {
			return
		}
		p.f.value(p.stuck[p.at])
		p.at++
	}
}

// print prints the next value.
func (p *printer) print(value string) {
	p.stickies()
	p.f.value(value)
	p.at++
}

// stream prints the next value, which may be long. The error is that of reading,
// or a *fatal one of the formatter.
func (p *printer) stream(r io.Reader) error {
	p.stickies()
	p.at++
	return p.pour(r)
}

// pour gives a long value to the formatter.
func (p *printer) pour(r io.Reader) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := p.f.stream(buf[:n]); err != nil {
				return err
			}
		}
		if err == nil {
			continue
		}
		if err == io.EOF {
			err = nil
		}
		if ferr := p.f.stream(nil); ferr != nil {
			return ferr
		}
		return err
	}
}

// finish ends the output.
func (p *printer) finish() { p.f.flush() }

// An output is buffered standard output.
type output struct{ *bufio.Writer }

func newOutput(w io.Writer) *output { return &output{bufio.NewWriterSize(w, 64<<10)} }

// flush writes what is buffered.
func (o *output) flush() { o.Flush() } //nolint:errcheck // nobody reads any more, as `doveadm ... | head`

// put writes s. The error comes back at the flush.
func (o *output) put(s string) { o.WriteString(s) } //nolint:errcheck // sticky

// pad writes n blanks.
func (o *output) pad(n int) {
	for range n {
		o.WriteByte(' ') //nolint:errcheck // sticky
	}
}

func itoa[T ~int | ~int64 | ~uint32 | ~uint64](n T) string {
	if n < 0 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(uint64(n), 10)
}
