package rfc822

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show writes addresses in braces.
func show(tokens []Token) string {
	var b strings.Builder
	for i, t := range tokens {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch t.Kind {
		case Address:
			b.WriteString("{" + show(t.List) + "}")
		case Atom, Comment:
			b.WriteString(t.Text)
		case Quoted:
			fmt.Fprintf(&b, "%q", t.Text)
		case Literal:
			b.WriteString("[" + t.Text + "]")
		case Group:
			b.WriteString("::")
		default:
			b.WriteByte(byte(t.Kind))
		}
	}
	return b.String()
}

func TestParseList(t *testing.T) {
	for _, tt := range []struct{ name, in, want, text string }{
		{"empty", "", "", ""},
		{"one", "a@b.c", "{a @ b . c}", "a@b.c"},
		{"phrase", "A B <a@b>", "A B < {a @ b} >", "A B <a@b>"},
		{"two", "a@b , c@d", "{a @ b} , {c @ d}", "a@b,\nc@d"},
		{"missing comma", "a@b c@d", "{a @ b} , {c @ d}", "a@b,\nc@d"},
		{"bare words", "a b c", "{a} , {b} , {c}", "a,\nb,\nc"},
		{"comment", "a@b (c (d)) , (e) f", "{a @ b} (c (d)) , {f} (e)", "a@b (c (d)),\nf (e)"},
		{"comment in brackets", "<a(x)@b>", "< {a @ b} (x) >", "<a@b (x)>"},
		{"group", "friends: a@b, c <d@e>;", "friends :: {a @ b} , c < {d @ e} > ;", "friends: a@b,\nc <d@e>;"},
		{"empty group", "undisclosed-recipients:;", "undisclosed-recipients :: ;", "undisclosed-recipients: ;"},
		{"group without end", "friends: a@b", "{friends : a @ b}", "\"friends:a\"@b"},
		{"route", "<@a,@b:c@d>", "< {@ a , @ b : c @ d} >", "<@a, @b:c@d>"},
		{"quoted", `"a b"@c, "Q, R" <x@y>`, `{"a b" @ c} , "Q, R" < {x @ y} >`, "\"a b\"@c,\n\"Q, R\" <x@y>"},
		{"needless quotes", `"ab"@c`, `{"ab" @ c}`, "ab@c"},
		{"literal", "a@[1.2.3.4]", "{a @ [1.2.3.4]}", "a@[1.2.3.4]"},
		{"null", "<>", "< >", "<>"},
		{"open quote", `"a b`, `{"a b"}`, `"a b"`},
		{"open bracket", "x <a@b", "{x < a @ b}", `"x <a"@b`},
		{"no open bracket", "x a@b>", "{x a @ b} >", "\"x a\"@b>"},
		{"two in brackets", "<a@b> <c@d>", "< {a @ b} > < {c @ d} >", "<a@b> <c@d>"},
		{"backslash", `a\ b@c`, `{"a b" @ c}`, `"a b"@c`},
		{"operators", "a%b!c|d", "{a % b ! c | d}", "a%b!c|d"},
		{"dots", "J. R. <a@b>", "J . R . < {a @ b} >", "J.R. <a@b>"},
		{"folded", "a@b,\n\tc@d", "{a @ b} , {c @ d}", "a@b,\nc@d"},
		{"only commas", ",,", ", ,", ",\n,\n"},
		{"phrase too long", strings.Repeat("x ", 140) + "<a@b>", strings.Repeat("x ", 140) + "< {a @ b} >", "<a@b>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokens := ParseList(tt.in, 0)
			if got := show(tokens); got != tt.want {
				t.Errorf("tokens %s, want %s", got, tt.want)
			}
			if diff := cmp.Diff(tt.text, Header(tokens, nil)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	if n := len(Scan(strings.Repeat("a.", 100), 7)); n != 7 {
		t.Errorf("%d tokens, want 7", n)
	}
}

func TestQuote(t *testing.T) {
	for _, tt := range []struct{ internal, external string }{
		{"a@b", "a@b"}, {"a b@c", `"a b"@c`}, {"a@b@c", `"a@b"@c`}, {"", `""`}, {"@c", `""@c`}, {`a"b@c`, `"a\"b"@c`},
		{".a@c", `".a"@c`}, {"a..b@c", `"a..b"@c`}, {"a.@c", `"a."@c`}, {"ü@c", "ü@c"}, {"@r:a b@c", `@r:"a b"@c`}, {"a", "a"},
	} {
		if got := Quote(tt.internal); got != tt.external {
			t.Errorf("%q quoted is %q, want %q", tt.internal, got, tt.external)
		}
		if got := Unquote(tt.external); got != tt.internal {
			t.Errorf("%q unquoted is %q, want %q", tt.external, got, tt.internal)
		}
	}
}

// FuzzParse looks that text which was put together is taken apart alike.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a@b, c <d@e>", "g: a, b;", `"x\" <y@z>`, "(c", "<@a:b@c>", "a\\", "[x\\]y]", "a%b!c@[1.2.3.4]", ";:<>,."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tokens := ParseList(s, 1000)
		once := External(tokens)
		_ = Header(tokens, nil)
		if len(once) > 10*len(s)+1000 {
			t.Errorf("%q grows to %q", s, once)
		}
		if !strings.ContainsAny(s, "\x00\\\"[](") && len(tokens) < 1000 {
			again := External(ParseList(once, 0))
			if third := External(ParseList(again, 0)); third != again {
				t.Errorf("%q: %q, %q, %q", s, once, again, third)
			}
		}
		if q := Quote(s); !strings.ContainsAny(s, "\r:@\x00") && s != "" && Unquote(q) != s {
			t.Errorf("%q quoted is %q, and back %q", s, q, Unquote(q))
		}
	})
}
