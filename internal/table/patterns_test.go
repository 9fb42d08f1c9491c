package table

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// postmapAll asks Postfix's postmap for many keys of one table.
func postmapAll(t *testing.T, spec string, keys []string) (found map[string]string, warnings []string) {
	t.Helper()
	cmd := exec.Command("postmap", "-q", "-", spec)
	cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatalf("postmap: %v: run test/install-packages", err)
	}
	found = make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		found[key] = value
	}
	for line := range strings.Lines(errs.String()) {
		if _, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "warning: "); ok {
			warnings = append(warnings, text)
		}
	}
	return found, warnings
}

// agree compares all keys of a table, and what its opening warns about.
func agree(t *testing.T, spec string, keys []string, compareWarnings bool) {
	t.Helper()
	want, wantWarnings := postmapAll(t, spec, keys)
	var w warnings
	table, err := Open(spec, w.options())
	if err != nil {
		t.Fatal(err)
	}
	if compareWarnings {
		got := strings.Join(w.lines, "\n")
		if wanted := strings.Join(wantWarnings, "\n"); !strings.HasPrefix(wanted, got) || got == "" && wanted != "" && strings.Contains(wanted, " map ") {
			t.Errorf("%s: warnings\n%s\nPostfix:\n%s", spec, got, wanted)
		}
	}
	for _, key := range keys {
		got, found, err := table.Lookup(context.Background(), key)
		wanted, wantFound := want[key]
		if err != nil || found != wantFound || got != wanted {
			showRules(t, spec)
			t.Errorf("%s: %q gives %q, %v, %v; Postfix %q, %v", spec, key, got, found, err, wanted, wantFound)
			return
		}
	}
}

// showRules prints the file of a table.
func showRules(t *testing.T, spec string) {
	_, name, _ := strings.Cut(spec, ":")
	if text, err := os.ReadFile(name); err == nil {
		t.Logf("rules:\n%s", text)
	}
}

// Patterns put together at random mean the same as in Postfix, whose rules they are in.
func TestGeneratedPatterns(t *testing.T) {
	pieces := map[string][]string{
		"regexp": {"a", "b", "c", "x", ".", "*", "+", "?", "|", "(", ")", "[ab]", "[^a]", "[]x]", "[\\.]", "[[:alpha:]]", "[a-c]", "{2}", "{1,2}", "{,2}", "^", "$", "\\.", "\\(", "\\|", "\\$", "@", "(a|b)", "(ab|a)", "a*", "\\<a", "b\\>", "\\w", "\\s", "é", "[é]"},
		"pcre":   {"a", "b", "c", "x", ".", "*", "+", "?", "|", "[ab]", "[^a]", "\\d", "\\w", "\\.", "{2}", "{1,2}", "^", "$", "@", "(a|b)", "(?:ab|a)", "(a)", "a*?", "a+?", "(?!b)", "a(?=b)", "(?<=a)", "\\b", "(?i)b", "[[:alpha:]]", "\\\\", "a++"},
	}
	flags := map[string][]string{"regexp": {"", "", "i", "m", "im"}, "pcre": {"", "", "i", "m", "s", "A", "E", "im"}}
	keys := []string{"a", "b", "c", "ab", "ba", "abc", "aab", "aaab", "abab", "xa", "A", "AB", "aB", "a@b", "a.b", "x", "\\", ".", "aa", "bb", "cab", "a b", "é", "É", "1", "a1b", "(", "|", "$"}
	for typ, list := range pieces {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, 5))
			for range 12 {
				var text strings.Builder
				for n := range 25 {
					var pattern strings.Builder
					for range 1 + r.IntN(6) {
						piece := list[r.IntN(len(list))]
						if last := pattern.String(); strings.ContainsAny(piece[:1], "*+?{") && (last == "" || strings.ContainsAny(last[len(last)-1:], "^$*+?}b)>|")) {
							piece = "c" // repetitions of what is no character, or of repetitions
						}
						pattern.WriteString(piece)
					}
					not := ""
					if r.IntN(8) == 0 {
						not = "!"
					}
					fmt.Fprintf(&text, "%s/%s/%s rule%d\n", not, pattern.String(), flags[typ][r.IntN(len(flags[typ]))], n)
				}
				agreeByRule(t, typ, text.String(), keys)
			}
		})
	}
}

// agreeByRule compares each rule of a table by itself, since the first that matches hides the others.
func agreeByRule(t *testing.T, typ, text string, keys []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		agree(t, typ+":"+writeFile(t, line), keys, typ == "regexp")
	}
}

// All forms of rules, right and wrong, with what is warned about.
func TestRuleForms(t *testing.T) {
	keys := []string{"a", "b", "ab", "foo", "bar", "foobar", "Foo", "10.1.2.3", "192.0.2.5", "2001:db8::1", "::1", "x@y.example"}
	for _, typ := range []string{"regexp", "pcre"} {
		for _, text := range []string{
			"/foo/ one two  three \n", "/foo/\tx\n", "/foo/  \n", "/^(f)(oo)?/ [$1][$2]\n", "/(.)(.)/ $2$1 ${1} $(2) $$1\n", "/(a)/ $3\n", "/(a)/ $0\n", "/(a)/ ${x}\n", "/(a)/ ${1\n", "/(a)/ $x\n", "/(a)/ $\n", "/(a)/ a$\n", "/(a)/ $1x\n", "/(a)/ ${1}x\n",
			"!/foo/ x\n", "!!/foo/ x\n", "! /foo/ x\n", "!/(a)/ $$\n", "!/(a)/ $1\n",
			"if /foo/\n/bar/ both\nendif\n/./ other\n", "IF !/foo/\n/bar/ only\nENDIF\n", "if/foo/\n/./ x\nendif\n", "if /a/\nif /b/\n/./ ab\nendif\n/./ a\nendif\n",
			"if /foo/ extra\n/./ x\nendif\n", "if /foo/\n/./ x\nendif extra\n", "endif\n", "if /foo/\n/./ x\n", "if\n/./ x\n", "if /foo\n/bar/ x\nendif\n/b/ y\n", "if /(/\n/bar/ x\nendif\n", "ifx /a/\n", "hello\n", "foo bar\n",
			"#/foo/ x\n/foo/ y # z\n", "/foo/\n x\n", "/fo\\/o/ x\n/foo/ z\n", "|foo| x\n", "'foo' x\n", "{foo} x\n", "/foo\n", "/\n", "!\n", "/foo/Q x\n", "/foo/xx y\n", "/Foo/i y\n",
		} {
			t.Run(typ+" "+text, func(t *testing.T) {
				agree(t, typ+":"+writeFile(t, text), keys, typ == "regexp" || !strings.Contains(text, "/(/"))
			})
		}
	}
	for _, text := range []string{
		"10.0.0.0/8 ten\n", "10.1.2.3 one\n", "10.1.2.3/33 x\n", "10.1.2.3/8 x\n", "!10.0.0.0/8 not\n", "!2001:db8::/32 not6\n", "[2001:db8::]/32 six\n", "2001:db8::/32 six\n", "[2001:db8::/32] six\n", "::/0 all6\n0.0.0.0/0 all4\n",
		"if 10.0.0.0/8\n10.1.0.0/16 in\nendif\n0.0.0.0/0 any\n", "if !10.0.0.0/8\n0.0.0.0/0 out\nendif\n", "if 10.0.0.0/8\n10.1.0.0/16 in\n", "endif\n", "if 10.0.0.0/8 x\n10.1.0.0/16 in\nendif x\n", "if\n", "10.0.0.0/8\n", "300.1.1.1 x\n", "10.0.0.0/ x\n", "10.0.0.0/x y\n", "10.0.0 x\n", "host x\n", "010.1.2.3 x\n", "10.1.2.3/32 $1\n", "! 10.0.0.0/8 x\n", "!!10.0.0.0/8 x\n", "10.0.0.0/08 x\n",
	} {
		t.Run("cidr "+text, func(t *testing.T) { agree(t, "cidr:"+writeFile(t, text), keys, true) })
	}
	for _, spec := range []string{
		"regexp:{ {/foo/ x}, {/bar/ y z} }", "pcre:{{/^(f)/ $1}}", "pcre:{{if /foo/} {/bar/ both} {endif}}", "cidr:{{10.0.0.0/8 ten}, {!192.0.2.0/24 not}}", "inline:{a=1 b=2, {foo = x y}}", "inline:{ {a b = 1} }", "static:{ x }", "static:x y", "unionmap:{static:a,inline:{b=c}}", "pipemap:{inline:{a=b},inline:{b=c}}", "environ:x",
	} {
		t.Run(spec, func(t *testing.T) { agree(t, spec, keys, false) })
	}
}
