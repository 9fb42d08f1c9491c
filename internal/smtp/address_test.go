package smtp

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		routed, bad    bool
	}{
		{name: "plain", in: "<a@b.example>", want: "a@b.example"},
		{name: "null", in: "<>", want: ""},
		{name: "without brackets", in: "a@b", want: "a@b"},
		{name: "local part alone", in: "<user>", want: "user"},
		{name: "doubled brackets", in: "<<a@b>>", want: "a@b"},
		{name: "quoted local part", in: `<"a b"@c>`, want: "a b@c"},
		{name: "quoted pair in quotes", in: `<"a\"b"@c>`, want: `a"b@c`},
		{name: "quoted at sign", in: `<"a@b"@c>`, want: "a@b@c"},
		{name: "source route", in: "<@a,@b:u@d>", want: "u@d", routed: true},
		{name: "blanks", in: "< a @ b >", want: "a@b"},
		{name: "comment", in: "<a@b(comment (nested))>", want: "a@b"},
		{name: "literal", in: "<a@[192.0.2.1]>", want: "a@[192.0.2.1]"},
		{name: "odd dots", in: "<.a..b@c.d>", want: ".a..b@c.d"},
		{name: "two at signs", in: "<a@b@c>", want: "a@b@c"},
		{name: "percent and bang", in: "<x!a%b@c>", want: "x!a%b@c"},
		{name: "UTF-8", in: "<jö@exämple.org>", want: "jö@exämple.org"},
		{name: "two words", in: "<a b@c>", bad: true},
		{name: "two addresses", in: "<a@b,c@d>", bad: true},
		{name: "words without dot", in: `<"a"b@c>`, bad: true},
		{name: "no domain", in: "<a@>", bad: true},
		{name: "only at sign", in: "<@>", bad: true},
		{name: "semicolon", in: "<a;b@c>", bad: true},
		{name: "open quote", in: `<"a@b>`, bad: true},
		{name: "text behind", in: "<a@b>SIZE=3", bad: true},
		{name: "too long", in: "<" + strings.Repeat("a", MaxAddress) + ">", bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePath([]byte(tt.in))
			if tt.bad != (err != nil) || err == nil && (got.Address != tt.want || got.Routed != tt.routed) {
				t.Errorf("ParsePath(%q) = %+v, %v", tt.in, got, err)
			}
		})
	}
}

func TestQuoteAddress(t *testing.T) {
	for in, want := range map[string]string{
		"":               "",
		"a@b":            "a@b",
		"a b@c":          `"a b"@c`,
		"a@b@c":          `"a@b"@c`,
		`a"b\c@d`:        `"a\"b\\c"@d`,
		"a..b@c":         `"a..b"@c`,
		"user":           "user",
		"@b":             `""@b`,
		"jö@example.org": "jö@example.org",
	} {
		if got := QuoteAddress(in); got != want {
			t.Errorf("QuoteAddress(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHostnameError(t *testing.T) {
	for name, want := range map[string]string{
		"example.com": "", "a": "", "under_score.example": "", "1a.2": "",
		"": "empty hostname", "a..b": "misplaced delimiter", ".a": "misplaced delimiter", "a.": "misplaced delimiter",
		"-a": "misplaced hyphen", "a-": "misplaced hyphen", "a-.b": "misplaced hyphen",
		"1.2.3.4": "numeric hostname", "a b": "invalid character",
		strings.Repeat("a", 64): "hostname label too long", strings.Repeat("a.", 128) + "a": "bad length",
	} {
		if got := HostnameError(name); got != want {
			t.Errorf("HostnameError(%q) = %q, want %q", name, got, want)
		}
	}
}

// FuzzParsePath checks that what was parsed parses to the same again when it
// is written in external form.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"<a@b>", "<>", `<"a b"@c>`, "<@a,@b:u@d>", "<a@[1.2.3.4]>", "a(b)@c", `<"\\\"">`, "<a@b@c>", "<<x>>", "\\a@b", "<jö@ä>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := ParsePath(in)
		if err != nil || p.Address == "" {
			return
		}
		local, domain := SplitAddress(p.Address)
		if domain != "" && !ValidUTF8Domain(domain) || local == "" {
			return // the server refuses the domain
		}
		quoted := QuoteAddress(p.Address)
		again, err := ParsePath([]byte("<" + quoted + ">"))
		if err != nil || again.Address != p.Address {
			t.Errorf("%q is %q, written %q, read %q: %v", in, p.Address, quoted, again.Address, err)
		}
	})
}
