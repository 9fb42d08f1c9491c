package imapwire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// dump renders arguments: atoms as they are, strings quoted, literals in braces.
func dump(args Args) string {
	var b strings.Builder
	for i := 0; len(args) > 0; args, i = args.Rest(), i+1 {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch a := args[0]; a.Kind {
		case List:
			b.WriteString("(" + dump(args.List()) + ")")
		case String:
			b.WriteString(`"` + string(a.Data) + `"`)
		case Literal:
			b.WriteString("{" + string(a.Data) + "}")
		default:
			b.WriteString(string(a.Data))
		}
	}
	return b.String()
}

func TestArgs(t *testing.T) {
	tests := []struct{ name, line, want, err string }{
		{"none", "", "", ""},
		{"atoms", " a b  c ", "a b c", ""},
		{"quoted with escapes", ` "a\"b\\c" "" x`, `"a"b\c" "" x`, ""},
		{"nested lists", " (a (b ()) c) d", "(a (b ()) c) d", ""},
		{"header fields", ` 1 (BODY[HEADER.FIELDS (subject "x y")]<0.5> UID)`, `1 (BODY[HEADER.FIELDS (subject "x y") ]<0.5> UID)`, ""},
		{"synchronizing literal", " {3}\r\na\r\n b", "{a\r\n} b", ""},
		{"non-synchronizing literal in list", " ({1+}\r\nx y)", "({x} y)", ""},
		{"empty literal", " {0+}\r\n", "{}", ""},
		{"no blank after string", ` "foo"x`, `"foo" x`, ""},
		{"wildcards", ` "" *%`, `"" *%`, ""},
		{"flag", ` \Seen $Forwarded`, `\Seen $Forwarded`, ""},
		{"open quote", ` "foo`, "", `Missing '"'`},
		{"CR in quotes", " \"x\ry\"", "", `Missing '"'`},
		{"NUL in quotes", " \"x\x00y\"", "", "NULs not allowed in strings"},
		{"list not closed", " (a (b)", "", "Missing ')'"},
		{"list not opened", " a)", "", "Unexpected ')'"},
		{"parenthesis in atom", " foo(", "", "Invalid characters in atom"},
		{"quote in atom", ` x"y`, "", "Invalid characters in atom"},
		{"control character in atom", " x\x01y", "", "Invalid characters in atom"},
		{"8bit in atom", " x\x80", "", "8bit data in atom"},
		{"bare CR", " x\ry", "", "CR sent without LF"},
		{"no size", " {x}", "", "Invalid literal size"},
		{"no brace", " {3", "", "Invalid literal size"},
		{"too large literal", " {99999999}", "", "Literal size too large"},
		{"size overflow", " {99999999999999999999999}", "", "Literal size too large"},
		{"long line", " " + strings.Repeat("x", 70000), "", "Too long argument"},
		{"deep", " " + strings.Repeat("(", 51), "", "Too many '('"},
		{"many", strings.Repeat(" x", 10001), "", "Too many arguments"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			input := "t1 cmd" + tt.line + "\r\nt2 next\r\n"
			for _, src := range []io.Reader{strings.NewReader(input), iotest.OneByteReader(strings.NewReader(input))} {
				d := NewDecoder(src, Limits{}, func() error { return nil })
				if err := d.Command(); err != nil || string(d.Tag()) != "t1" || string(d.Name()) != "CMD" {
					t.Fatalf("Command: %q %q %v", d.Tag(), d.Name(), err)
				}
				args, err := d.Args(0)
				if tt.err != "" {
					var e *Error
					if !errors.As(err, &e) || e.Text != tt.err {
						t.Fatalf("error %v, want %q", err, tt.err)
					}
					if e.Fatal {
						continue
					}
				} else if err != nil {
					t.Fatal(err)
				} else if got := dump(args); got != tt.want {
					t.Fatalf("got %s, want %s", got, tt.want)
				}
				if err := d.EndLine(); err != nil {
					t.Fatal(err)
				}
				if err := d.Command(); err != nil || string(d.Tag()) != "t2" || string(d.Name()) != "NEXT" {
					t.Fatalf("next Command: %q %q %v", d.Tag(), d.Name(), err)
				}
			}
		})
	}
}

func TestCommandErrors(t *testing.T) {
	tests := []struct{ line, tag, name, err string }{
		{"\r\n", "", "", "Invalid tag"},
		{" noop\r\n", "", "", "Invalid tag"},
		{"a+b noop\r\n", "", "", "Invalid tag"},
		{"\x16\x03\x01\r\n", "", "", "Invalid tag"},
		{"a\r\n", "a", "", "Invalid command name"},
		{"a  noop\r\n", "a", "", "Invalid command name"},
		{"a uid\r\n", "a", "UID ", "Invalid command name"},
		{"a uid fetch\r\n", "a", "UID FETCH", ""},
		{"a noop\n", "a", "NOOP", ""},
	}
	for _, tt := range tests {
		d := NewDecoder(strings.NewReader(tt.line), Limits{}, nil)
		err := d.Command()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if string(d.Tag()) != tt.tag || string(d.Name()) != tt.name || text != tt.err {
			t.Errorf("%q: tag %q, name %q, error %q", tt.line, d.Tag(), d.Name(), text)
		}
		if err := d.EndLine(); err != nil {
			t.Errorf("%q: EndLine: %v", tt.line, err)
		}
		if len(d.Buffered()) > 0 {
			t.Errorf("%q: %q left", tt.line, d.Buffered())
		}
	}
}

// A refused command's literals are skipped, so that their data is never taken
// for commands.
func TestEndLineSkipsLiterals(t *testing.T) {
	input := "a x ) {6+}\r\n1 noop {3+}\r\nabc \"q\r\nb next\r\n"
	d := NewDecoder(iotest.OneByteReader(strings.NewReader(input)), Limits{}, nil)
	if err := d.Command(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Args(0); err == nil {
		t.Fatal("no error")
	}
	if err := d.EndLine(); err != nil {
		t.Fatal(err)
	}
	if err := d.Command(); err != nil || string(d.Name()) != "NEXT" {
		t.Fatalf("%q %v", d.Name(), err)
	}
}

func TestStreamedLiteral(t *testing.T) {
	body := strings.Repeat("0123456789\r\n", 5000)
	input := "a append box (\\Seen) {60000}\r\n" + body + " () {5+}\r\nhello\r\nb next\r\n"
	asked := 0
	d := NewDecoder(strings.NewReader(input), Limits{}, func() error { asked++; return nil })
	if err := d.Command(); err != nil {
		t.Fatal(err)
	}
	if args, err := d.Args(1); err != nil || dump(args) != "box" {
		t.Fatalf("%s %v", dump(args), err)
	}
	for i, want := range []struct{ args, data string }{{`(\Seen)`, body}, {"()", "hello"}} {
		args, lit, ok, err := d.ArgsUntilLiteral()
		if err != nil || !ok || dump(args) != want.args || lit.Size != int64(len(want.data)) {
			t.Fatalf("%d: %s %+v %v %v", i, dump(args), lit, ok, err)
		}
		r, err := d.OpenLiteral()
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := r.WriteTo(&got); err != nil || got.String() != want.data {
			t.Fatalf("%d: %d bytes, %v", i, got.Len(), err)
		}
	}
	if args, _, ok, err := d.ArgsUntilLiteral(); err != nil || ok || len(args) != 0 {
		t.Fatalf("end: %s %v %v", dump(args), ok, err)
	}
	if asked != 1 {
		t.Errorf("asked for %d literals", asked)
	}
	if err := d.EndLine(); err != nil {
		t.Fatal(err)
	}
	if err := d.Command(); err != nil || string(d.Name()) != "NEXT" {
		t.Fatalf("%q %v", d.Name(), err)
	}
}

// A literal that is refused: the data of a non-synchronizing one is skipped, of
// a synchronizing one none comes.
func TestRefusedLiteral(t *testing.T) {
	for _, head := range []string{"{5+}\r\n1 no \r\n", "{5}\r\n"} {
		d := NewDecoder(strings.NewReader("a append box "+head+"b next\r\n"), Limits{}, nil)
		d.Command()
		d.Args(1)
		if _, _, ok, err := d.ArgsUntilLiteral(); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := d.EndLine(); err != nil {
			t.Fatal(err)
		}
		if err := d.Command(); err != nil || string(d.Name()) != "NEXT" {
			t.Fatalf("%q: %q %v", head, d.Name(), err)
		}
	}
}

func TestLiteralMinus(t *testing.T) {
	d := NewDecoder(strings.NewReader("a x {4097+}\r\n"), Limits{NonSync: 4096}, nil)
	d.Command()
	var e *Error
	if _, err := d.Args(0); !errors.As(err, &e) || !e.Fatal {
		t.Fatal(err)
	}
}

func TestSet(t *testing.T) {
	tests := []struct{ in, want string }{
		{"1", "1:1"}, {"1:3,5", "1:3 5:5"}, {"3:1", "1:3"}, {"*", "*:*"}, {"5:*", "5:*"}, {"*:5", "5:*"},
		{"0", "!"}, {"", "!"}, {"1,", "!"}, {"1,,2", "!"}, {"1:", "!"}, {"x", "!"}, {"4294967295", "!"}, {"1:2:3", "!"},
		{"4294967294", "4294967294:4294967294"},
	}
	for _, tt := range tests {
		set, ok := ParseSet(nil, []byte(tt.in))
		var parts []string
		for _, r := range set {
			parts = append(parts, dumpNumber(r.Min)+":"+dumpNumber(r.Max))
		}
		got := strings.Join(parts, " ")
		if !ok {
			got = "!"
		}
		if got != tt.want {
			t.Errorf("%q: %s, want %s", tt.in, got, tt.want)
		}
	}
	if got := string(AppendSet(nil, []uint32{1, 2, 3, 5, 7, 8})); got != "1:3,5,7:8" {
		t.Error(got)
	}
}

func dumpNumber(n uint32) string {
	if n == Star {
		return "*"
	}
	return string(AppendSet(nil, []uint32{n}))
}

func TestAppendStrings(t *testing.T) {
	tests := []struct{ in, str, astr string }{
		{"inbox", `"inbox"`, "inbox"},
		{"", `""`, `""`},
		{"a b", `"a b"`, `"a b"`},
		{`a"\b`, `"a\"\\b"`, `"a\"\\b"`},
		{"nil", `"nil"`, `"nil"`},
		{"a%", `"a%"`, `"a%"`},
		{"a]", `"a]"`, "a]"},
		{"ä", "{2}\r\nä", "{2}\r\nä"},
		{"a\r\nb", "{4}\r\na\r\nb", "{4}\r\na\r\nb"},
	}
	for _, tt := range tests {
		if got := string(AppendString(nil, tt.in)); got != tt.str {
			t.Errorf("AppendString(%q) = %q", tt.in, got)
		}
		if got := string(AppendAString(nil, []byte(tt.in))); got != tt.astr {
			t.Errorf("AppendAString(%q) = %q", tt.in, got)
		}
	}
}

func TestDateTime(t *testing.T) {
	for in, want := range map[string]string{
		"17-Jul-1996 02:44:25 -0700": "17-Jul-1996 02:44:25 -0700",
		" 7-Jul-1996 02:44:25 +0000": "07-Jul-1996 02:44:25 +0000",
		"17-Xul-1996 02:44:25 -0700": "",
		"17-Jul-1996":                "",
	} {
		d, ok := ParseDateTime([]byte(in))
		if got := string(AppendDateTime(nil, d)); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		"a noop\r\n", "a select \"x\\\"y\" (condstore)\r\n", "a append box (\\Seen) {3+}\r\nabc\r\n",
		"a search {1}\r\nx (or (a) b)\r\n", "a x {99999999999999999999+}\r\n", "a x ((((\r\n", "a uid \r\n",
		"a fetch 1:* (body[header.fields (a b)]<0.5>)\r\nb idle\r\nDONE\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, input []byte, size uint8) {
		lim := Limits{Line: 1 << 10, Args: 100, Depth: 8}
		d := NewDecoder(&chunkReader{input, int(size)}, lim, func() error { return nil })
		for {
			err := d.Command()
			if err == nil {
				if size%2 == 0 {
					_, err = d.Args(0)
				} else if _, err = d.Args(1); err == nil {
					var ok bool
					if _, _, ok, err = d.ArgsUntilLiteral(); ok && err == nil && size%3 == 0 {
						var r *LiteralReader
						if r, err = d.OpenLiteral(); err == nil {
							_, err = r.WriteTo(io.Discard)
						}
					}
				}
			}
			if e := (*Error)(nil); err != nil && (!errors.As(err, &e) || e.Fatal) {
				return
			}
			if cap(d.buf) > 16*lim.Line+keepBuf {
				t.Fatalf("buffer grew to %d", cap(d.buf))
			}
			if d.EndLine() != nil {
				return
			}
			d.Release()
		}
	})
}

// chunkReader gives input in pieces.
type chunkReader struct {
	input []byte
	size  int
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if len(r.input) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.size+1)], r.input)
	r.input = r.input[n:]
	return n, nil
}

func BenchmarkDecoder(b *testing.B) {
	line := []byte("a123 UID FETCH 1:1000 (FLAGS UID BODY.PEEK[HEADER.FIELDS (Subject From \"Date\")])\r\n")
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	r := &loopReader{line: line}
	d := NewDecoder(r, Limits{}, nil)
	for b.Loop() {
		if err := d.Command(); err != nil {
			b.Fatal(err)
		}
		if _, err := d.Args(0); err != nil {
			b.Fatal(err)
		}
		d.EndLine()
		d.Release()
	}
}

type loopReader struct{ line []byte }

func (r *loopReader) Read(p []byte) (int, error) { return copy(p, r.line), nil }
