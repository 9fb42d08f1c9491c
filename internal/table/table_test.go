package table

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// warnings collects what opening and asking tables warns about.
type warnings struct{ lines []string }

func (w *warnings) options() Options {
	return Options{Log: maillog.NewFunc(func(_ maillog.Level, text string) { w.lines = append(w.lines, text) })}
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "table")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// Postfix reads a file that was just written again and again, until it
	// looks stable.
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, past, past); err != nil {
		t.Fatal(err)
	}
	return name
}

// query is postmap -q of the installed Postfix, the reference for all types.
func query(t testing.TB, key, spec string) (string, bool) {
	t.Helper()
	out, err := exec.Command("postmap", "-q", key, spec).Output()
	if err != nil {
		if _, failed := err.(*exec.ExitError); !failed {
			t.Fatalf("postmap: %v: run test/install-packages", err)
		}
		return "", false
	}
	return strings.TrimSuffix(string(out), "\n"), true
}

// Every lookup gives what Postfix's own postmap gives for the same table and key.
func TestLookupsAgreeWithPostfix(t *testing.T) {
	tables := []struct {
		name string
		typ  string
		text string // of the file; or of the name itself, for tables without one
		keys []string
	}{
		{"fixed keys fold to lower case", "texthash", "Key One\nother  two words  \n", []string{"key", "KEY", "other", "none"}},
		{"continuation keeps its blanks", "texthash", "k a\n  b\n# comment\n\tc\nnext n\n", []string{"k", "next"}},
		{"quoted key", "texthash", "\"john doe\"@example.com x\n", []string{"\"john doe\"@example.com"}},
		{"first of equal keys", "texthash", "a 1\nA 2\n", []string{"a"}},
		{"inline", "inline", "{ a=1, {b = two words} }", []string{"a", "A", "b", "c"}},
		{"static", "static", "some text", []string{"anything"}},
		{"static in braces", "static", "{ some text }", []string{"anything"}},
		{"regexp case", "regexp", "/^Case$/i sensitive\n/^case$/ insensitive\n", []string{"case", "Case", "CASE"}},
		{"regexp groups", "regexp", "/^([a-z]+)\\.([a-z]+)@/ $2-${1}$(2)$$\n", []string{"john.doe@x", "JOHN.DOE@x", "x"}},
		{"regexp leftmost longest", "regexp", "/^(a|ab)(c|bcd)(d*)$/ $1,$2,$3\n", []string{"abcd"}},
		{"regexp negation and if", "regexp", "if /example/\n!/^good@/ bad\n/^good@/ good\nendif\n/./ other\n", []string{"good@example.com", "evil@example.com", "evil@other"}},
		{"regexp other delimiter", "regexp", "|^pipe/x| yes\n", []string{"pipe/x"}},
		{"regexp classes", "regexp", "/^[[:digit:]]+$/ digits\n/^\\<word\\>/ word\n", []string{"123", "word up", "words"}},
		{"regexp back reference", "regexp", "/^(..)\\1$/ twice\n", []string{"abab", "abac"}},
		{"pcre", "pcre", "/^(?!foo)(\\w+)-\\d+$/ got $1\n/x/x no\n", []string{"bar-12", "foo-12", "x"}},
		{"pcre toggles", "pcre", "/abc/i exact\n/ABC/ any\n", []string{"abc", "ABC", "Abc"}},
		{"pcre anchored", "pcre", "/b/A anchored\n/b/ anywhere\n", []string{"bc", "ab"}},
		{"pcre atomic", "pcre", "/^(?>a+)b/ atomic\n", []string{"aaab", "b"}},
		{"cidr", "cidr", "192.0.2.1 one\n!192.0.2.0/24 outside\n192.0.2.0/25 low\n[2001:db8::]/32 six\n", []string{"192.0.2.1", "192.0.2.5", "192.0.2.200", "198.51.100.1", "2001:DB8:0:0::5", "::1", "host.example.com", "[2001:db8::1]"}},
		{"cidr if", "cidr", "if 10.0.0.0/8\n10.1.0.0/16 inner\nendif\n0.0.0.0/0 any\n", []string{"10.1.2.3", "10.2.2.3", "192.0.2.1"}},
		{"bad rules are skipped", "cidr", "10.1.0.0/8 bad\n300.1.1.1 bad\n10.1.0.0/16 good\n", []string{"10.1.0.1"}},
		{"unionmap", "unionmap", "{inline:{a=1}, inline:{a=2,b=3}}", []string{"a", "b", "c"}},
		{"pipemap", "pipemap", "{inline:{a=b}, inline:{b=c}}", []string{"a", "b"}},
	}
	for _, tt := range tables {
		t.Run(tt.name, func(t *testing.T) {
			spec := tt.typ + ":" + tt.text
			if strings.Contains(tt.text, "\n") {
				spec = tt.typ + ":" + writeFile(t, tt.text)
			}
			var w warnings
			table, err := Open(spec, w.options())
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range tt.keys {
				want, wantFound := query(t, key, spec)
				got, found, err := table.Lookup(context.Background(), key)
				if err != nil || found != wantFound || got != want {
					t.Errorf("Lookup(%q) = %q, %v, %v; Postfix: %q, %v", key, got, found, err, want, wantFound)
				}
			}
		})
	}
}

// A rule that is wrong is skipped with Postfix's warning.
func TestWarningsAgreeWithPostfix(t *testing.T) {
	for _, tt := range []struct{ typ, text string }{
		{"cidr", "10.1.0.0/8 x\n"},
		{"cidr", "300.1.1.1 x\n"},
		{"cidr", "1.2.3.4/33 x\n"},
		{"cidr", "1.2.3.4\n"},
		{"regexp", "/foo x\n"},
		{"regexp", "/foo/ $2\n"},
		{"regexp", "!/foo/ $1\n"},
		{"regexp", "/foo/q x\n"},
		{"regexp", "hello there\n"},
		{"texthash", "key\n"},
		{"texthash", "a 1\na 2\n"},
		{"texthash", "  first a\n"},
		{"texthash", "alias: x\n"},
	} {
		t.Run(tt.typ+" "+tt.text, func(t *testing.T) {
			spec := tt.typ + ":" + writeFile(t, tt.text)
			var w warnings
			if _, err := Open(spec, w.options()); err != nil {
				t.Fatal(err)
			}
			out, _ := exec.Command("postmap", "-q", "key", spec).CombinedOutput()
			var want []string
			for line := range strings.Lines(string(out)) {
				if _, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "warning: "); ok {
					want = append(want, text)
				}
			}
			if strings.Join(w.lines, "\n") != strings.Join(want, "\n") {
				t.Errorf("warnings:\n%s\nPostfix:\n%s", strings.Join(w.lines, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// Keys of hash tables are found whichever of the two postmaps made the file.
func TestHashOfPostfix(t *testing.T) {
	name := writeFile(t, "Alice@Example.com bob\n@example.net  catch all\n")
	if out, err := exec.Command("postmap", "hash:"+name).CombinedOutput(); err != nil {
		t.Fatalf("postmap: %v\n%s", err, out)
	}
	var w warnings
	table, err := Open("hash:"+name, w.options())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"alice@example.com": "bob", "ALICE@example.com": "bob", "@example.net": "catch all"} {
		if got, _, err := table.Lookup(context.Background(), key); got != want || err != nil {
			t.Errorf("Lookup(%q) = %q, %v; want %q", key, got, err, want)
		}
	}
}

func TestLists(t *testing.T) {
	file := writeFile(t, "# a comment\ninfile.example\n!no.infile.example\n")
	for _, tt := range []struct {
		value string
		kind  ListKind
		name  string
		want  bool
	}{
		{"example.com, example.net", Strings, "EXAMPLE.net", true},
		{"example.com", Strings, "www.example.com", false},
		{".example.com", Domains, "www.example.com", true},
		{"example.com", Domains, "www.example.com", false},
		{"example.com", DomainsBelow, "www.example.com", true},
		{"example.com", DomainsBelow, "notexample.com", false},
		{"!www.example.com, .example.com", Domains, "www.example.com", false},
		{"!!example.com", Strings, "example.com", true},
		{file, Strings, "infile.example", true},
		{"!" + file, Strings, "infile.example", false},
		{"inline:{table.example=1}", Domains, "table.example", true},
		{"inline:{table.example=1}", DomainsBelow, "a.b.table.example", true},
		{"", Strings, "x", false},
	} {
		var w warnings
		l, err := OpenList("mydestination", tt.value, tt.kind, w.options())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := l.Match(context.Background(), tt.name); got != tt.want || err != nil {
			t.Errorf("%q matches %q: %v, %v; want %v", tt.value, tt.name, got, err, tt.want)
		}
	}
}

func TestNetworks(t *testing.T) {
	for _, tt := range []struct {
		value, host, addr string
		want              bool
	}{
		{"127.0.0.0/8 [::1]/128", "localhost", "127.0.0.1", true},
		{"127.0.0.0/8 [::1]/128", "localhost", "::1", true},
		{"127.0.0.0/8", "", "::ffff:127.0.0.1", true},
		{"192.0.2.0/24", "", "198.51.100.1", false},
		{"!192.0.2.66, 192.0.2.0/24", "", "192.0.2.66", false},
		{"192.0.2.1/24", "", "192.0.2.77", true}, // host bits: what is meant is clear
		{".example.com", "a.example.com", "192.0.2.1", true},
		{"cidr:{{192.0.2.0/24 yes}}", "unknown", "192.0.2.1", true},
	} {
		var w warnings
		n, err := OpenNetworks("mynetworks", tt.value, w.options())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := n.MatchAddr(context.Background(), tt.host, netip.MustParseAddr(tt.addr)); got != tt.want || err != nil {
			t.Errorf("%q matches %s: %v, %v; want %v", tt.value, tt.addr, got, err, tt.want)
		}
	}
}

// A table that cannot be opened or asked must never look like one without the key.
func TestFailureIsNotAbsence(t *testing.T) {
	var w warnings
	m := OpenMaps("virtual_alias_maps", "hash:/nonexistent/virtual, static:x", w.options())
	if _, found, err := m.Lookup(context.Background(), "a"); err == nil || found {
		t.Errorf("lookup in a table that is missing: %v, %v", found, err)
	}
	m = OpenMaps("virtual_alias_maps", "inline:{a=}", w.options())
	if _, _, err := m.Lookup(context.Background(), "a"); err == nil {
		t.Error("an empty result is taken for an answer")
	}
	if _, err := Open("nosuch:x", Options{}); err == nil || err.Error() != "unsupported dictionary type: nosuch" {
		t.Errorf("unknown type: %v", err)
	}
}

func FuzzRules(f *testing.F) {
	f.Add("/^a(.*)b$/i $1\nif !/x/\n!/y/ z\nendif\n", "axb")
	f.Add("|^pipe/x| ${1}$$\n", "pipe/x")
	f.Fuzz(func(t *testing.T, text, key string) {
		name := writeFile(t, text)
		for _, typ := range []string{"regexp", "pcre", "cidr", "texthash"} {
			table, err := Open(typ+":"+name, Options{})
			if err == nil {
				table.Lookup(context.Background(), key)
			}
		}
	})
}
