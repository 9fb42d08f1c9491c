package message

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseDate(t *testing.T) {
	text, err := os.ReadFile("testdata/dates.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		i := strings.LastIndex(line, " | ")
		if i < 0 || line[0] == '#' {
			continue
		}
		value, want := line[:i], strings.TrimSpace(line[i+3:])
		got := "1970-01-01 00:00:00 (+0000)"
		if d, ok := ParseDate([]byte(value)); ok {
			_, zone := d.Zone()
			sign := '+'
			if zone < 0 {
				sign, zone = '-', -zone
			}
			got = d.UTC().Format("2006-01-02 15:04:05") + fmt.Sprintf(" (%c%02d%02d)", sign, zone/3600, zone/60%60)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestDecodeHeader(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                   "plain",
		"=?utf-8?q?=C3=A4_b?=":                    "ä b",
		"=?UTF-8?B?w6Q=?= x":                      "ä x",
		"a =?iso-8859-1?Q?=E4?= b":                "a ä b",
		"=?utf-8?q?a?= =?utf-8?q?b?=":             "ab",
		"=?utf-8?q?a?=\n =?utf-8?q?b?= c":         "ab c",
		"=?utf-8*en?q?x?=":                        "x",
		"=?utf-8?q?unfinished":                    "=?utf-8?q?unfinished",
		"=?utf-8?x?x?=":                           "=?utf-8?x?x?=",
		"=?x-unknown?q?=E4?=":                     "\uFFFD",
		"\"=?utf-8?q?in_quotes?=\"":               "\"in quotes\"",
		"raw \xe4 byte":                           "raw \uFFFD byte",
		"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=":      "日本",
		"=?koi8-r?B?8NLJ18XU?=":                   "Привет",
		"=?utf-8?b?w6?= missing padding and byte": "\uFFFD missing padding and byte",
	} {
		if got := string(DecodeHeader(nil, []byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// The examples of RFC 5256, and what Dovecot 2.3 makes of others.
func TestBaseSubject(t *testing.T) {
	for _, try := range []struct {
		field, base string
		reply       bool
	}{
		{"hello", "HELLO", false},
		{" Re: hello (fwd) ", "HELLO", true},
		{"RE[4]: Fwd : [list] FW [x] :  hello", "HELLO", true},
		{"[list]", "[LIST]", false},
		{"[list] [other]", "[OTHER]", false},
		{"[list] re: ", "", true},
		{"[Fwd: [Fwd: a  b]]", "A B", true},
		{"[fwd: a", "[FWD: A", false},
		{"(fwd)", "", true},
		{"Refund", "REFUND", false},
		{"[a[b] re: x", "[A[B] RE: X", false},
		{"=?utf-8?q?Re=3A_gr=C3=BC=C3=9Fe?=", "GRU\u0308\u00dfE", true},
		{"", "", false},
	} {
		if base, reply := BaseSubject(try.field); base != try.base || reply != try.reply {
			t.Errorf("%q: %q, %v; want %q, %v", try.field, base, reply, try.base, try.reply)
		}
	}
}

func TestHeaderReader(t *testing.T) {
	text := "A: 1\r\nB : 2\n folded\n\tagain\nno colon\n: empty name\nC:3\n\nbody: x\n"
	want := []string{"1 A=1", "2 B=2\n folded\n\tagain", "5 =no colon", "6 =empty name", "7 C=3"}
	for name, r := range map[string]io.Reader{
		"whole":  strings.NewReader(text),
		"bytes":  iotest.OneByteReader(strings.NewReader(text)),
		"halves": iotest.HalfReader(strings.NewReader(text)),
	} {
		h := NewHeaderReader(r, 1000)
		var got []string
		for f, ok := h.Next(); ok; f, ok = h.Next() {
			got = append(got, fmt.Sprintf("%d %s=%s", f.Line, f.Name, f.Value()))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || h.Err() != nil {
			t.Errorf("%s: %q, %v", name, got, h.Err())
		}
	}
	h := NewHeaderReader(strings.NewReader("Long: "+strings.Repeat("x", 100)+"\nNext: y\n"), 10)
	if f, _ := h.Next(); string(f.Raw) != "Long: xxxx" {
		t.Errorf("%q", f.Raw)
	}
	if f, _ := h.Next(); string(f.Name) != "Next" {
		t.Errorf("%q", f.Name)
	}
}

func TestCRLFReader(t *testing.T) {
	for in, want := range map[string]string{
		"":               "",
		"a":              "a",
		"a\nb\n":         "a\r\nb\r\n",
		"a\r\nb\r\n":     "a\r\nb\r\n",
		"\n\n\r\n\r\r\n": "\r\n\r\n\r\n\r\r\n",
		"\ra\r":          "\ra\r",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			got, err := io.ReadAll(NewCRLFReader(r))
			if string(got) != want || err != nil {
				t.Errorf("%q: %q %v", in, got, err)
			}
			small, err := io.ReadAll(iotest.OneByteReader(NewCRLFReader(strings.NewReader(in))))
			if string(small) != want || err != nil {
				t.Errorf("%q in small reads: %q %v", in, small, err)
			}
		}
	}
}

func TestTextReader(t *testing.T) {
	for name, c := range map[string]struct{ header, body, want string }{
		"latin-1, quoted-printable": {"text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable", "Gr=FC=\n=DFe\n", "Grüße\n"},
		"utf-8, base64":             {"text/plain; charset=utf-8\nContent-Transfer-Encoding: base64", "R3LD\nvMOf\nZQ==\n", "Grüße"},
		"broken base64":             {"text/plain\nContent-Transfer-Encoding: base64", "R3L*DvMOfZ", "Gr\u00fc\u00df"},
		"unknown charset":           {"text/plain; charset=x-none", "a\xe4b", "a\uFFFDb"},
		"not text":                  {"image/png\nContent-Transfer-Encoding: base64", "AAEC", "\x00\x01\x02"},
	} {
		m := []byte("MIME-Version: 1.0\nContent-Type: " + c.header + "\n\n" + c.body)
		s := mustParse(t, m)
		got, err := io.ReadAll(NewTextReader(&s.Root, bytes.NewReader(m[s.Root.BodyOffset():])))
		if string(got) != c.want || err != nil {
			t.Errorf("%s: %q, want %q, %v", name, got, c.want, err)
		}
	}
}

// The example of a cache record made by Dovecot: a message of 139 bytes of
// header in LF form, 145 with CRLF, and one line of body.
func TestPartsAreDovecots(t *testing.T) {
	want := []byte("\x08\x00\x00\x00\x8b\x00\x00\x00\x00\x00\x00\x00\x91\x00\x00\x00\x00\x00\x00\x00" +
		"\x12\x00\x00\x00\x00\x00\x00\x00\x13\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00")
	header := "X: " + strings.Repeat("x", 80) + "\nA: b\nC: d\nE: f\nG: h\n"
	header += strings.Repeat("y", 139-len(header)-2) + "\n\n"
	s := mustParse(t, []byte(header+"Body of message 1\n"))
	// This header has seven lines; the example had six.
	want[12]++
	if got := s.AppendParts(nil); !bytes.Equal(got, want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
	back, err := ParseParts(want)
	if err != nil || back.VirtualSize() != s.VirtualSize() {
		t.Errorf("%v, size %d", err, back.VirtualSize())
	}
}

func FuzzAddresses(f *testing.F) {
	for _, g := range goldens(f, "envelope.txt") {
		if value, ok := bytes.CutPrefix(g.message, []byte("From: ")); ok {
			f.Add(value)
		}
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if n := len(ParseAddresses(value, 10)); n > 12 {
			t.Errorf("%d addresses", n)
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add([]byte("=?utf-8?q?=C3=A4?= =?iso-2022-jp?b?GyRC?="))
	f.Fuzz(func(t *testing.T, value []byte) {
		if out := DecodeHeader(nil, value); !bytes.Equal(out, bytes.ToValidUTF8(out, nil)) {
			t.Errorf("%q is not UTF-8", out)
		}
		ParseDate(value)
		BaseSubject(string(value))
	})
}
