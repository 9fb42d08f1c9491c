package smtp

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is parsed and written again is parsed as the same.
func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"NOOP", " mail\tFROM:<a@b>  ", "\v\f", "x\x00y z", "EHLO  [IPv6:::1] "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		verb, args := ParseCommand(line)
		if bytes.ContainsFunc(verb, func(r rune) bool { return r < 0x80 && isBlank(byte(r)) }) || !bytes.Equal(args, trimBlanks(args)) {
			t.Errorf("%q: blanks in %q, %q", line, verb, args)
		}
		if len(verb) == 0 && len(trimBlanks(line)) > 0 || !bytes.Contains(line, verb) || !bytes.Contains(line, args) {
			t.Errorf("%q becomes %q, %q", line, verb, args)
		}
		again, rest := ParseCommand([]byte(string(verb) + " " + string(args)))
		if !bytes.Equal(again, verb) || !bytes.Equal(rest, args) {
			t.Errorf("%q: %q, %q become %q, %q", line, verb, args, again, rest)
		}
	})
}

func FuzzParseEnhanced(f *testing.F) {
	for _, s := range []string{"5.1.1 text", "4.007.25", "2.0.0\nx", "3.0.0", "5.1.1000", "5.1.", "2.999.999\t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, n := ParseEnhanced(s)
		if n == 0 {
			if !e.IsZero() {
				t.Errorf("%q is none and %v", s, e)
			}
			return
		}
		if n > len("5.999.999") || n < len(s) && !strings.ContainsAny(s[n:n+1], " \t\n") || e[1] > 999 || e[2] > 999 {
			t.Errorf("%q: %v of %d bytes", s, e, n)
		}
		if again, m := ParseEnhanced(e.String()); again != e || m != len(e.String()) {
			t.Errorf("%q: %v becomes %v", s, e, again)
		}
	})
}

func FuzzParseXtext(f *testing.F) {
	for _, s := range []string{"", "a+2Bb", "a+0D+0ab", "+", "+4", "+G0", "a=b c\x00\xff", `\\x{E4}\\x{`, "ä\\x{}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := ParseXtext([]byte(Xtext(s))); !ok || got != s {
			t.Errorf("%q is written %q and read %q", s, Xtext(s), got)
		}
		if got, ok := ParseUxtext(AppendUxtext(nil, s)); utf8.ValidString(s) && (!ok || got != s) {
			t.Errorf("%q is written %q and read %q", s, AppendUxtext(nil, s), got)
		}
		if text, ok := ParseUxtext([]byte(s)); len(text) > len(s) || !ok && text != "" {
			t.Errorf("%q is read as %q, %v", s, text, ok)
		}
		text, ok := ParseXtext([]byte(s))
		if len(text) > len(s) || !ok && text != "" {
			t.Errorf("%q is read as %q, %v", s, text, ok)
		}
		for _, written := range []string{Xtext(text), string(AppendUxtext(nil, text))} {
			if !isPrintable(written) || strings.ContainsAny(written, " =") || len(written) > 10*len(text) {
				t.Errorf("%q is written %q", text, written)
			}
		}
	})
}

func FuzzParseLiteral(f *testing.F) {
	for _, s := range []string{"[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::ffff:192.0.2.1]", "[::1]", "[IPv6:fe80::1%lo]", "[1.2.3.4", "[IPv6:]", "[01.2.3.4]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, ok := ParseLiteral(s)
		if !ok {
			if addr.IsValid() {
				t.Errorf("%q is none and %v", s, addr)
			}
			return
		}
		written := "[" + addr.String() + "]"
		if !addr.Is4() {
			written = "[IPv6:" + addr.String() + "]"
		}
		if again, ok := ParseLiteral(written); !ok || again != addr || addr.Zone() != "" {
			t.Errorf("%q: %v, written %s, becomes %v", s, addr, written, again)
		}
		if !ValidDomain(s) {
			t.Errorf("%q is no domain", s)
		}
	})
}

func FuzzHostnameError(f *testing.F) {
	for _, s := range []string{"mail.example.com", "a_b-c.d", "-a", "a-.b", "a..b", "a.", "1.2.3.4", "x" + strings.Repeat(".y", 127), strings.Repeat("z", 64), "\xe4.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		problem := HostnameError(name)
		if problem != HostnameError(strings.ToUpper(strings.ToLower(name))) && isPrintable(name) {
			t.Errorf("%q: letters count in %q", name, problem)
		}
		if (problem == "") != ValidHostname(name) {
			t.Errorf("%q: %q", name, problem)
		}
		if problem != "" {
			return
		}
		letter := false
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
				t.Errorf("%q: label %q", name, label)
			}
			letter = letter || strings.Trim(label, "0123456789") != ""
		}
		if len(name) > 255 || !letter || !isPrintable(name) || strings.ContainsAny(name, " @<>\"\\[]:%") {
			t.Errorf("%q is taken", name)
		}
		if !ValidDomain(name) || !ValidUTF8Domain(name) {
			t.Errorf("%q is a name and no domain", name)
		}
	})
}

// FuzzReadChunk reads content in chunks, however it is cut and arrives: a CR is put before each LF that has none, and
// what follows stays.
func FuzzReadChunk(f *testing.F) {
	for _, s := range []string{"a\r\nb\nc\r\n\n\r\rd\r", "\n", "\r", "\r\n\r\n", "x\n.\n\r.\r\n"} {
		f.Add([]byte(s), uint8(3), uint8(2))
	}
	f.Fuzz(func(t *testing.T, in []byte, size, chunk uint8) {
		var want []byte
		for i, c := range in {
			if c == '\n' && (i == 0 || in[i-1] != '\r') {
				want = append(want, '\r')
			}
			want = append(want, c)
		}
		r := readerOf(string(in)+"NEXT\r\n", int(size)+1)
		r.StartChunks()
		var got []byte
		for rest := len(in); rest > 0; {
			left := int64(min(int(chunk)+1, rest))
			rest -= int(left)
			for {
				before := left
				piece, err := r.ReadChunk(&left)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if left < 0 || left > before || left == before && string(piece) != "\r\n" {
					t.Fatalf("%d bytes were left, then %d with %q", before, left, piece)
				}
				got = append(got, piece...)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
		if r.BareLF() != (len(want) > len(in)) {
			t.Errorf("%q: bare LF: %v", in, r.BareLF())
		}
		if line, err := r.ReadLine(); err != nil || string(line) != "NEXT" {
			t.Errorf("%q: what follows is %q, %v", in, line, err)
		}
	})
}
