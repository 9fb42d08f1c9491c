package sendmail

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// lines reads a message and shows it: pieces of lines end in "+".
func lines(t testing.TB, in io.Reader, limit int, ends lineEnding, dotEnds bool) []string {
	t.Helper()
	r := newReader(in, limit, ends, dotEnds)
	var all []string
	for {
		l, err := r.next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text := string(l.text)
		if l.continues {
			text += "+"
		}
		all = append(all, text)
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, in string
		ends     lineEnding
		keepDot  bool
		want     []string
	}{
		{name: "lines", in: "a\n\nb\n", want: []string{"a", "", "b"}},
		{name: "no end", in: "a\nb", want: []string{"a", "b+"}},
		{name: "dot", in: "a\n.\nb\n", want: []string{"a"}},
		{name: "dot kept", in: "a\n.\nb\n", keepDot: true, want: []string{"a", ".", "b"}},
		{name: "dot at the end", in: "a\n.", want: []string{"a"}},
		{name: "no dot within a line", in: "12345678.\n", want: []string{"12345678+", "."}},
		{name: "pieces", in: "1234567812345678\n", want: []string{"12345678+", "12345678+", ""}},
		{name: "CRLF always", in: "a\nb\r\r\n", ends: removeCR, want: []string{"a", "b"}},
		{name: "CRLF never", in: "a\r\nb\n", ends: keepLines, want: []string{"a\r", "b"}},
		{name: "CRLF strict, first", in: "a\r\nb\r\n", ends: dunno, want: []string{"a", "b"}},
		{name: "CRLF strict, not first", in: "a\nb\r\n", ends: dunno, want: []string{"a", "b\r"}},
		{name: "From lines", in: "From a\n>From b\nc\nFrom d\n", want: []string{"c", "From d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				if diff := cmp.Diff(c.want, lines(t, in, 8, c.ends, !c.keepDot)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// Somebody types: a line that is there is read without waiting for the next.
func TestLinesOneByOne(t *testing.T) {
	in, out := io.Pipe()
	r := newReader(in, 2048, removeCR, true)
	for _, text := range []string{"one", "two"} {
		go io.WriteString(out, text+"\n") //nolint:errcheck // the reader fails then
		l, err := r.next()
		if err != nil || string(l.text) != text {
			t.Fatalf("%q, %v", l.text, err)
		}
	}
}

func TestExtract(t *testing.T) {
	for in, want := range map[string][]string{
		"To: a@b, C <c@d>\nBcc: e@f\n\nTo: g@h\n":         {"a@b", "c@d", "e@f"},
		"To: a@b\nResent-To: c@d\nCc: e@f\n\n":            {"c@d"},
		"To: a@b,\n c@d\n\te@f\n":                         {"a@b", "c@d", "e@f"},
		"to : a@b\n":                                      {"a@b"},
		"X: y\nno header\nTo: a@b\n":                      nil,
		"To: \"q s\"@b, <r@s> trailing\n":                 {"q s@b", "r@s", "trailing"},
		"To: list: a@b, c@d;, e@f\n":                      {"a@b", "c@d", "e@f"},
		"To: (comment) a@b (and, more)\n":                 {"a@b"},
		"To:" + strings.Repeat(" ", 300) + "a@b\nCc: c@d": {"a@b", "c@d"},
	} {
		x := &extractor{}
		r := newReader(strings.NewReader(in), 100, removeCR, true)
		for {
			l, err := r.next()
			if err == io.EOF {
				break
			}
			if err := x.line(l); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, x.recipients()); diff != "" {
			t.Errorf("%q:\n%s", in, diff)
		}
	}
	x := &extractor{}
	if err := x.line(textLine{text: append([]byte("To: "), bytes.Repeat([]byte{'a'}, maxHeader)...)}); err != errHeader {
		t.Errorf("a header without end: %v", err)
	}
}

// Pieces put together are the input.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n.\nlast"), 8)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		limit = 1 + (limit&0xff+0x100)&0xff
		var got strings.Builder
		for _, l := range lines(t, bytes.NewReader(append([]byte("x\n"), in...)), limit, keepLines, false) {
			text, piece := strings.CutSuffix(l, "+")
			got.WriteString(text)
			if !piece {
				got.WriteByte('\n')
			}
		}
		// A line that ends in "+" looks like a piece here.
		if bytes.Contains(in, []byte("+")) {
			return
		}
		if want := "x\n" + string(in); got.String() != want {
			t.Errorf("%q of %q", got.String(), want)
		}
	})
}

func FuzzExtract(f *testing.F) {
	f.Add([]byte("To: a@b, C <c@d>\nResent-Cc: x: e@f;\n\nbody"))
	f.Fuzz(func(t *testing.T, in []byte) {
		x := &extractor{}
		for l := range bytes.Lines(in) {
			if x.line(textLine{text: bytes.TrimSuffix(l, []byte("\n"))}) != nil {
				return
			}
		}
		for _, r := range x.recipients() {
			if len(r) > len(in) {
				t.Errorf("recipient %q", r)
			}
		}
	})
}

func FuzzAttributes(f *testing.F) {
	f.Add([]byte("status\x000\x00reason\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		all, err := readAttributes(bufio.NewReader(bytes.NewReader(in)))
		if err == nil && len(all) > len(in) {
			t.Errorf("%v", all)
		}
	})
}
