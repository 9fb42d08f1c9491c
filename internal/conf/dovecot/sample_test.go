package dovecot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// unpack writes the files of an archive to a directory that stands for
// /etc/dovecot, and returns the archive's files by name with the paths changed
// accordingly.
func unpack(t *testing.T, path string) (dir string, files map[string]string, comment string) {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	files = map[string]string{}
	for _, f := range a.Files {
		files[f.Name] = strings.ReplaceAll(string(f.Data), "/etc/dovecot/", dir+"/")
		name := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[f.Name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, files, string(a.Comment)
}

// TestErrors provokes each diagnostic of Dovecot and wants its exact text.
func TestErrors(t *testing.T) {
	paths, _ := filepath.Glob("testdata/errors/*.txtar")
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			dir, files, comment := unpack(t, path)
			var opts []Option
			if strings.Contains(comment, " -x ") {
				opts = append(opts, ReadFiles())
			} else {
				opts = append(opts, Literal())
			}
			c, err := Load(dir+"/dovecot.conf", opts...)
			var out []string
			if c != nil {
				for _, w := range c.warnings {
					out = append(out, "doveconf: Warning: "+w)
				}
			}
			if err != nil {
				out = append(out, "doveconf: Fatal: "+err.Error())
			}
			var want []string
			for line := range strings.Lines(files["stderr"]) {
				if !strings.HasPrefix(line, "doveconf: Error: ") && line != "\n" { // the same text again
					want = append(want, strings.TrimSuffix(line, "\n"))
				}
			}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSamples compares complete configurations with what doveconf -n prints
// for them.
func TestSamples(t *testing.T) {
	paths, _ := filepath.Glob("testdata/samples/*.txtar")
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			dir, files, _ := unpack(t, path)
			c, err := Load(dir+"/dovecot.conf", Literal())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for i, l := range c.layers {
				changed(got, layerName(l.cond), l.root, i > 0)
			}
			want := readPrinted(t, files["expected-n.txt"])
			for k, v := range want {
				switch {
				case strings.Contains(v, "hidden"):
					got[k] = v
				case v == "" && got[k] == "": // printed although it is not set
					delete(want, k)
					delete(got, k)
				case strings.HasPrefix(k, "managesieve_"):
					delete(want, k)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			var warnings string
			for _, w := range c.warnings {
				warnings += "doveconf: Warning: " + w + "\n"
			}
			if diff := cmp.Diff(files["stderr"], warnings); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// layerName names a filter as doveconf prints it, in one line.
func layerName(c cond) string {
	var s string
	if c.localName != "" {
		s += "local_name " + c.localName + " { "
	}
	if c.local.set() {
		s += "local " + c.local.text + " { "
	}
	if c.remote.set() {
		s += "remote " + c.remote.text + " { "
	}
	if c.hasService {
		s += "protocol " + c.service + " { "
	}
	return s
}

// changed collects the keys that doveconf -n prints: at the top level and in
// passdb and userdb those that differ from their defaults, elsewhere all that
// are set.
func changed(out map[string]string, prefix string, s *section, all bool) {
	for key, val := range s.keys {
		text := val.text
		if val.file != "" {
			text = "<" + text
		}
		set := s.set.known(key)
		if key == s.set.nameKey() && s.set.Path != "" && !s.set.ordered() {
			continue
		}
		if all || set == nil || text != set.Default {
			out[prefix+key] = text
		}
	}
	counts := map[*Setting]int{}
	for _, sub := range s.subs {
		id := sub.id()
		if sub.set.ordered() || sub.num >= 0 {
			id = fmt.Sprint(counts[sub.set])
			counts[sub.set]++
		}
		changed(out, prefix+filepath.Base(sub.set.Path)+" "+id+" { ", sub, !sub.set.ordered())
	}
}

// textNumbers are the numbers below n in the order in which doveconf prints lists.
func textNumbers(n int) []string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprint(i))
	}
	slices.Sort(s)
	return s
}

// readPrinted reads the output of doveconf into the form of changed.
func readPrinted(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	var stack []string
	counts := map[string]int{}
	numbers := textNumbers(strings.Count("\n"+text, "\npassdb {"))
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
				if name = fmt.Sprint(counts[prefix+typ]); typ == "passdb" && prefix == "" {
					name = numbers[counts[prefix+typ]]
				}
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
		if !strings.Contains(s.Path, "/") && !s.section() && !s.Hidden && !s.Unset && !strings.HasPrefix(s.Modules[0], "managesieve") {
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
