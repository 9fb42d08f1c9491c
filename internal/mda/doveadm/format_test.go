package doveadm

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// printed gives rows of values to a formatter and returns its output.
func printed(format string, hideTitles bool, columns []column, rows ...[]string) string {
	var b bytes.Buffer
	w := newOutput(&b)
	p := newPrinter(formatters[format](w, hideTitles))
	for _, c := range columns {
		p.column(c)
	}
	for _, row := range rows {
		for _, v := range row {
			p.print(v)
		}
	}
	p.finish()
	w.flush()
	return b.String()
}

func TestFormatters(t *testing.T) {
	columns := []column{{"name", "Name", 0}, {"n", "#", right | number}, {"note", "Note", hidden}}
	rows := [][]string{{"a", "1", "x y"}, {"bcdef", "20", "ä\"\t"}}
	for _, test := range []struct{ format, want string }{
		{"flow", "Name=a #=1 x y\nName=bcdef #=20 ä\"\t\n"},
		{"tab", "Name\t#\tNote\na\t1\tx y\nbcdef\t20\tä\"\t\n"},
		{"pager", "Name: a\n#: 1\nx y\n\f\nName: bcdef\n#: 20\nä\"\t\n"},
		{"json", `[{"name":"a","n":1,"note":"x y"},{"name":"bcdef","n":20,"note":"ä\"\t"}]`},
		{"table", "Name   # Note" + strings.Repeat(" ", 33) + "\na      1 x y" + strings.Repeat(" ", 34) + "\nbcdef 20 ä\"\t" + strings.Repeat(" ", 34) + "\n"},
	} {
		if got := printed(test.format, false, columns, rows...); got != test.want {
			t.Errorf("%s: %q, want %q", test.format, got, test.want)
		}
	}
}

func TestFormattersWithoutRows(t *testing.T) {
	columns := []column{{"a", "A", 0}, {"b", "B", 0}}
	for format, want := range map[string]string{"flow": "", "tab": "A\tB\n", "pager": "", "json": "[]", "table": "A B" + strings.Repeat(" ", 38) + "\n"} {
		if got := printed(format, false, columns); got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
}

func TestTitlesAreHidden(t *testing.T) {
	all := []column{{"a", "A", hidden}}
	if got := printed("table", false, all, []string{"x"}); strings.Contains(got, "A") {
		t.Errorf("table with hidden titles only: %q", got)
	}
	if got := printed("tab", true, []column{{"a", "A", 0}}, []string{"x"}); got != "x\n" {
		t.Errorf("tab with -h: %q", got)
	}
}

// TestTableForgetsNothing has more rows than decide the widths, and a later one that
// is wider.
func TestTableForgetsNothing(t *testing.T) {
	var rows [][]string
	for range measuredRows + 5 {
		rows = append(rows, []string{"x"})
	}
	rows = append(rows, []string{strings.Repeat("wide ", 40)})
	got := printed("table", true, []column{{"a", "A", 0}}, rows...)
	if n := strings.Count(got, "\n"); n != len(rows) || !strings.Contains(got, rows[len(rows)-1][0]) {
		t.Errorf("%d lines for %d rows", n, len(rows))
	}
}

func TestStickyColumn(t *testing.T) {
	var b bytes.Buffer
	w := newOutput(&b)
	p := newPrinter(newFlow(w, false))
	p.column(column{"username", "Username", sticky | hidden})
	p.column(column{"uid", "uid", 0})
	p.stick("username", "alice")
	p.print("1")
	p.stick("username", "bob")
	p.print("2")
	p.finish()
	w.flush()
	if want := "alice uid=1\nbob uid=2\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// FuzzJSON streams a value in pieces: what comes out must be JSON, and the value if
// that is UTF-8.
func FuzzJSON(f *testing.F) {
	f.Add([]byte("a\"\\\x00ä\u2028\xff"), 1)
	f.Add([]byte("Ümläut\r\n\t\b\f"), 2)
	f.Fuzz(func(t *testing.T, value []byte, size int) {
		size = max(1, min(size, 64))
		var b bytes.Buffer
		w := newOutput(&b)
		format := newJSON(w, false)
		format.column(&column{key: "k"})
		for rest := value; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if err := format.stream(rest[:min(size, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := format.stream(nil); err != nil {
			t.Fatal(err)
		}
		format.flush()
		w.flush()
		var out []map[string]string
		if err := json.Unmarshal(b.Bytes(), &out); err != nil {
			t.Fatalf("%q: %v", b.Bytes(), err)
		}
		if utf8.Valid(value) && out[0]["k"] != string(value) {
			t.Errorf("%q became %q", value, out[0]["k"])
		}
	})
}
