package smtp

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// fold is what a folder does, one line at a time.
func fold(text string, limit int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		body, end := strings.TrimSuffix(line, "\r\n"), "\r\n"
		if body == line {
			end = ""
		}
		for len(body) > limit {
			b.WriteString(body[:limit] + "\r\n")
			body = " " + body[limit:]
		}
		b.WriteString(body + end)
	}
	return b.String()
}

func TestFolder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		limit := 2 + random.IntN(10)
		var text strings.Builder
		for range random.IntN(6) {
			text.WriteString(strings.Repeat("x", random.IntN(3*limit)) + "\r\n")
		}
		var out bytes.Buffer
		f := folder{w: &out, limit: limit}
		for rest := text.String(); rest != ""; {
			n := 1 + random.IntN(len(rest))
			if k, err := f.Write([]byte(rest[:n])); k != n || err != nil {
				t.Fatal(k, err)
			}
			rest = rest[n:]
		}
		if err := f.flush(); err != nil {
			t.Fatal(err)
		}
		want := fold(text.String(), limit)
		if out.String() != want || f.broken != (want != text.String()) {
			t.Fatalf("limit %d, broken %v: %q\ngives %q\nwant  %q", limit, f.broken, text.String(), out.String(), want)
		}
	}
}

// Content passes the common case without a break or a copy.
func BenchmarkFolder(b *testing.B) {
	text := []byte(strings.Repeat(strings.Repeat("x", 74)+"\r\n", 130))
	f := folder{w: discard{}, limit: 998}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		f.Write(text)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func downgrade(t testing.TB, text string, chunk int) string {
	t.Helper()
	var out bytes.Buffer
	d := newDowngrader(&out)
	for rest := text; rest != ""; {
		n := min(len(rest), chunk)
		if _, err := d.Write([]byte(rest[:n])); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDowngrade(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"no header", "\nGrüße\n", "\nGrüße\n"},
		{"no MIME", "Subject: x\n\nGrüße\n", "Subject: x\n\nGrüße\n"},
		{
			"order of fields", "Content-Transfer-Encoding: 8bit\nSubject: x\nContent-Type: text/plain\n\nü\n",
			"Subject: x\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n",
		},
		{
			"folded field", "Content-Transfer-Encoding:\n 8BIT\nA: b\n c\n\nü\n",
			"A: b\n c\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n",
		},
		{
			"quoted-printable stays", "Content-Transfer-Encoding: quoted-printable\n\n=C3=BC =\n",
			"Content-Transfer-Encoding: quoted-printable\n\n=C3=BC =\n",
		},
		{
			"blanks at the end", "Content-Transfer-Encoding: 8bit\n\na \nb\t\n\n",
			"Content-Transfer-Encoding: quoted-printable\n\na=20\nb=09\n\n",
		},
		{
			"header without body", "Content-Transfer-Encoding: 8bit\nA: b\n",
			"A: b\nContent-Transfer-Encoding: quoted-printable\n",
		},
		{
			"body without empty line", "Content-Transfer-Encoding: 8bit\nthis is no field ü\n",
			"Content-Transfer-Encoding: quoted-printable\nthis is no field =C3=BC\n",
		},
		{
			"boundary with blanks and comment", "Content-Type: multipart/mixed; charset=\"a;b\";\n boundary=\"x y\\\"\" (c)\n\n--x y\"\nContent-Transfer-Encoding: 8bit\n\nü\n--x y\"--\nü\n",
			"Content-Type: multipart/mixed; charset=\"a;b\";\n boundary=\"x y\\\"\" (c)\n\n--x y\"\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n--x y\"--\nü\n",
		},
		{
			"outer boundary ends inner parts",
			"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\nü\n--a\n\nü\n--a--\n",
			"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n--a\n\nü\n--a--\n",
		},
		{
			"digest", "Content-Type: multipart/digest; boundary=a\n\n--a\n\nContent-Transfer-Encoding: 8bit\n\nü\n--a--\n",
			"Content-Type: multipart/digest; boundary=a\n\n--a\n\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n--a--\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, want := strings.ReplaceAll(test.in, "\n", "\r\n"), strings.ReplaceAll(test.want, "\n", "\r\n")
			for _, chunk := range []int{1, 2, 3, 7, 1 << 20} {
				if got := downgrade(t, in, chunk); got != want {
					t.Errorf("in pieces of %d: %q\nwant %q", chunk, got, want)
				}
			}
		})
	}
}

// An endless line is not held in memory, and comes out complete.
func TestDowngradeEndlessLine(t *testing.T) {
	head := "Content-Transfer-Encoding: 8bit\r\n\r\n"
	got := downgrade(t, head+strings.Repeat("ü", 100_000)+"\r\n", 1000)
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	for line := range strings.Lines(body) {
		if len(line) > 78 {
			t.Fatalf("line of %d bytes", len(line))
		}
	}
	if strings.ReplaceAll(body, "=\r\n", "") != strings.Repeat("=C3=BC", 100_000)+"\r\n" {
		t.Error("content is damaged")
	}
}

// FuzzDowngrade: what comes out of a part marked 8bit is 7-bit, and the pieces in which
// content arrives do not matter.
func FuzzDowngrade(f *testing.F) {
	f.Add("Content-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n", 3)
	f.Add("Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xfc\r\n--a--\r\n", 5)
	f.Add("Content-Type: message/rfc822\r\n\r\nContent-Type: x\r\n\tContent-Transfer-Encoding: binary\r\n\r\n", 1)
	f.Fuzz(func(t *testing.T, text string, chunk int) {
		if len(text) > maxLine { // pieces of longer lines depend on how they arrive
			return
		}
		whole := downgrade(t, text, 1<<20)
		if pieces := downgrade(t, text, max(chunk%100, 1)); pieces != whole {
			t.Errorf("%q: in pieces %q, as a whole %q", text, pieces, whole)
		}
		body := "Content-Transfer-Encoding: 8bit\r\n\r\n" + strings.ReplaceAll(text, "\r", "")
		for i, c := range []byte(downgrade(t, body, 1<<20)) {
			if c > '~' {
				t.Fatalf("byte %d of the converted %q is %#x", i, body, c)
			}
		}
	})
}

func TestCertificateNames(t *testing.T) {
	for _, test := range []struct {
		certificate, match string
		sub, want          bool
	}{
		{"mx.example.com", "mx.example.com", false, true},
		{"MX.example.com", "mx.example.COM", false, true},
		{"mx.example.com", "example.com", false, false},
		{"*.example.com", "mx.example.com", false, true},
		{"*.example.com", "a.mx.example.com", false, false},
		{"*.example.com", "example.com", false, false},
		{"*", "com", false, false},
		{"*.", "mx.", false, false},
		{"mx.example.com", "example.com", true, true},
		{"a.mx.example.com", "example.com", true, true},
		{"example.com", "example.com", true, false},
		{"badexample.com", "example.com", true, false},
	} {
		p := tlsPolicy{matches: []certMatch{{test.match, test.sub}}}
		if got := p.accepts(test.certificate); got != test.want {
			t.Errorf("certificate of %q for %q (below it: %v): %v", test.certificate, test.match, test.sub, got)
		}
	}
}

// Levels that are not supported are refused, not taken for weaker ones.
func TestTLSLevels(t *testing.T) {
	for _, test := range []struct {
		set  Settings
		want string
	}{
		{Settings{}, "none"},
		{Settings{UseTLS: true}, "may"},
		{Settings{EnforceTLS: true}, "encrypt"},
		{Settings{EnforceTLS: true, EnforcePeername: true}, "verify"},
		{Settings{UseTLS: true, TLSLevel: "none"}, "none"},
		{Settings{TLSLevel: "secure"}, "secure"},
		{Settings{TLSLevel: "Dane-Only"}, "dane-only"},
		{Settings{TLSLevel: "half-dane"}, `Invalid TLS level "half-dane"`},
		{Settings{TLSLevel: "may", TLSWrapper: true}, `smtp_tls_wrappermode requires "smtp_tls_security_level = encrypt" (or stronger)`},
	} {
		level, err := test.set.tlsLevel(SMTP)
		got := ""
		for name, l := range tlsLevels {
			if l == level {
				got = name
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("want %s, got %s", test.want, got)
		}
	}
}
