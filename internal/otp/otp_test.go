package otp

import (
	"strings"
	"testing"
)

// The examples of RFC 2289 appendix C.
var examples = []struct {
	algorithm, password, seed string
	count                     int
	hex, words                string
}{
	{"md4", "This is a test.", "TeSt", 0, "D1854218EBBB0B51", "ROME MUG FRED SCAN LIVE LACE"},
	{"md4", "This is a test.", "TeSt", 1, "63473EF01CD0B444", "CARD SAD MINI RYE COL KIN"},
	{"md4", "This is a test.", "TeSt", 99, "C5E612776E6C237A", "NOTE OUT IBIS SINK NAVE MODE"},
	{"md5", "This is a test.", "TeSt", 0, "9E876134D90499DD", "INCH SEA ANNE LONG AHEM TOUR"},
	{"md5", "This is a test.", "TeSt", 99, "50FE1962C4965880", "BAIL TUFT BITS GANG CHEF THY"},
	{"md5", "AbCdEfGhIjK", "alpha1", 0, "87066DD9644BF206", "FULL PEW DOWN ONCE MORT ARC"},
	{"sha1", "This is a test.", "TeSt", 0, "BB9E6AE1979D8FF4", "MILT VARY MAST OK SEES WENT"},
	{"sha1", "This is a test.", "TeSt", 1, "63D936639734385B", "CART OTTO HIVE ODE VAT NUT"},
	{"sha1", "This is a test.", "TeSt", 99, "87FEC7768B73CCF9", "GAFF WAIT SKID GIG SKY EYED"},
	{"sha1", "AbCdEfGhIjK", "alpha1", 99, "27BC71035AAF3DC6", "MAY STAR TIN LYON VEDA STAN"},
}

func TestExamples(t *testing.T) {
	for _, tt := range examples {
		s := State{Algorithm: tt.algorithm, Sequence: tt.count, Seed: strings.ToLower(tt.seed)}
		s.Hash = s.Compute(tt.password)
		want, _, err := ParseHex(tt.hex)
		if err != nil || s.Hash != want {
			t.Errorf("%s %s %d: %X, want %s", tt.algorithm, tt.password, tt.count, s.Hash, tt.hex)
		}
		if got := want.Words(); got != tt.words {
			t.Errorf("%s: %q, want %q", tt.hex, got, tt.words)
		}
		if h, rest, err := ParseWords(strings.ToLower(tt.words) + " : x"); h != want || rest != " : x" || err != nil {
			t.Errorf("%q: %X %q %v", tt.words, h, rest, err)
		}
	}
}

// A password works once, and the one before it next.
func TestChain(t *testing.T) {
	s := New("secret")
	read, err := Parse(s.String())
	if err != nil || read != s {
		t.Fatalf("%+v, %v; want %+v", read, err, s)
	}
	for range 3 {
		text, ok := s.Challenge()
		asked := s
		asked.Sequence--
		want := "otp-sha1 " + strings.Fields(asked.String())[1] + " " + s.Seed + " ext"
		if !ok || text != want {
			t.Fatalf("%q, want %q", text, want)
		}
		h := asked.Compute("secret")
		next, ok := s.Next(h)
		if !ok || next.Sequence != s.Sequence-1 {
			t.Fatalf("%+v %v", next, ok)
		}
		if _, again := next.Next(h); again {
			t.Error("a password worked twice")
		}
		if _, ok := s.Next(asked.Compute("wrong")); ok {
			t.Error("a wrong password worked")
		}
		s = next
	}
	s.Sequence = 1
	if _, ok := s.Challenge(); ok {
		t.Error("a challenge without a password left")
	}
}

func TestParseResponse(t *testing.T) {
	for _, tt := range []struct {
		text, err string
		init      string
	}{
		{"hex:5Bf0 75d9 959d 036f", "", ""},
		{"word:BOND FOGY DRAB NE RISE MART", "", ""},
		{"hex:5bf075d9959d036f and more", "", ""},
		{"init-hex:5bf075d9959d036f:md5 499 ke1235:3712dcb4aa5316c1", "", "md5 499 ke1235 3712dcb4aa5316c1"},
		{"init-word:BOND FOGY DRAB NE RISE MART:md5 499 ke1235:RED HERD NOW BEAN PA BURG", "", "md5 499 ke1235 3712dcb4aa5316c1"},
		{"hex:5bf0", "invalid response", ""},
		{"word:BOND FOGY DRAB NE RISE XYZZY", "invalid response", ""},
		{"5bf075d9959d036f", "unsupported response type", ""},
		{"init-hex:5bf0:md5 499 ke1235:3712dcb4aa5316c1", "invalid init response, invalid current OTP", ""},
		{"init-hex:5bf075d9959d036f", "invalid init response, missing colon", ""},
		{"init-hex:5bf075d9959d036f:md6 499 ke1235:3712dcb4aa5316c1", "invalid init response, invalid OTP parameters", ""},
		{"init-hex:5bf075d9959d036f:md5 499 ke1235", "invalid init response, missing colon", ""},
		{"init-hex:5bf075d9959d036f:md5 499 ke1235:3712", "invalid init response, invalid new OTP", ""},
		{"init-hex:5bf075d9959d036f:md5 499 ke1235:3712dcb4aa5316c1 x", "invalid init response, trailing garbage found", ""},
	} {
		r, err := ParseResponse(tt.text)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tt.err {
			t.Errorf("%q: %q, want %q", tt.text, text, tt.err)
			continue
		}
		if want, _, _ := ParseHex("5bf075d9959d036f"); err == nil && r.Hash != want {
			t.Errorf("%q: %X", tt.text, r.Hash)
		}
		if tt.init != "" && r.Init.String() != tt.init {
			t.Errorf("%q: %s", tt.text, r.Init)
		}
	}
}

// FuzzParse gives the parsers any text; what they accept they must write.
func FuzzParse(f *testing.F) {
	f.Add("sha1 1024 0123456789abcdef 0123456789abcdef", "hex:5bf075d9959d036f")
	f.Add("md4 1 a\t0 1 2 3456789abcdef", "init-word:BOND FOGY DRAB NE RISE MART:md5 499 ke1235:RED HERD NOW BEAN PA BURG")
	f.Fuzz(func(t *testing.T, state, response string) {
		if s, err := Parse(state); err == nil {
			if again, err := Parse(s.String()); err != nil || again != s {
				t.Errorf("%q: %v %v", state, again, err)
			}
		}
		if r, err := ParseResponse(response); err == nil {
			if h, rest, err := ParseWords(r.Hash.Words()); h != r.Hash || rest != "" || err != nil {
				t.Errorf("%q: %X %q %v", response, h, rest, err)
			}
		}
	})
}
