package dovecot

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// readPrinted reads the output of doveconf, each value with the first lines of the sections around it.
func readPrinted(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	var stack []string
	counts := map[string]int{}
	for ln := range strings.Lines(text) {
		ln = strings.TrimSuffix(strings.TrimLeft(ln, " "), "\n")
		if ln == "}" {
			stack = stack[:len(stack)-1]
			continue
		}
		if head, ok := strings.CutSuffix(ln, " {"); ok {
			typ, name, _ := strings.Cut(head, " ")
			prefix := strings.Join(stack, "")
			if name == "" && typ != "plugin" && typ != "dict" {
				name = fmt.Sprint(counts[prefix+typ])
				counts[prefix+typ]++
			}
			stack = append(stack, typ+" "+strings.Trim(name, `"`)+" { ")
			continue
		}
		key, val, ok := strings.Cut(ln, " = ")
		if !ok {
			t.Fatalf("cannot read %q", ln)
		}
		if len(val) > 1 && val[0] == '"' && val[len(val)-1] == '"' {
			val = unescape(val[1 : len(val)-1])
		}
		out[strings.Join(stack, "")+key] = val
	}
	return out
}

// TestDefaults compares the defaults of all settings and services with those of
// Dovecot 2.3.21.1 as its authors publish it.
func TestDefaults(t *testing.T) {
	text, err := os.ReadFile("testdata/defaults.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := readPrinted(t, string(text))
	got := map[string]string{}
	for _, s := range Settings() {
		if !strings.Contains(s.Path, "/") && !s.section() && !s.Hidden && !s.Unset && s.only == "" && !strings.HasPrefix(s.Modules[0], "managesieve") {
			got[s.Path] = s.Default
		}
	}
	list := schema().root.keys["service"]
	for _, svc := range (view{builtin()}).subs(list) {
		printAll(got, "service "+svc[0].name+" { ", list, svc)
	}
	for k := range got {
		if _, ok := want[k]; !ok && !strings.HasPrefix(k, "service managesieve") {
			t.Errorf("%s is not a setting of Dovecot", k)
		}
	}
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("default of %s is %q (known: %v), want %q", k, g, ok, v)
		}
	}
}

func printAll(out map[string]string, prefix string, set *Setting, v view) {
	for key, s := range set.keys {
		if s.Kind == KindList {
			for _, sub := range v.subs(s) {
				printAll(out, prefix+key+" "+sub[0].name+" { ", s, sub)
			}
			continue
		}
		val, ok := v.value(key)
		if !ok {
			val.text = s.Default
		}
		if key != set.nameKey() {
			out[prefix+key] = val.text
		}
	}
}

func TestDiscrepancies(t *testing.T) {
	for _, d := range Discrepancies() {
		t.Error(d)
	}
}
