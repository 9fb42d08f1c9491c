package layout

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dovetail-mail/dovetail"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Imports    []string
	GoFiles    []string
	Doc        string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out := goList(t, "-json")
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// goList runs go list as make builds: without cgo.
func goList(t *testing.T, options ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", append(append([]string{"list"}, options...), module+"/...")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// layers are the parts of internal/, the lowest first. A package may import
// those of its own layer and of the ones before it.
var layers = [][]string{
	{"conf", "maillog", "metrics", "rawlog"},
	{"message", "smtp", "otp", "sasl", "dns", "tlsconf", "master", "table", "sqldb", "ldapdb", "dict", "haproxy", "auth"},
	{"mta", "mda"},
}

func layer(path string) (part string, level int) {
	rest, ok := strings.CutPrefix(path, module+"/internal/")
	if !ok {
		return "", len(layers)
	}
	part, _, _ = strings.Cut(rest, "/")
	for i, l := range layers {
		if slices.Contains(l, part) {
			return part, i
		}
	}
	return part, -1
}

func TestImportsRunDownwards(t *testing.T) {
	for _, p := range packages(t) {
		from, level := layer(p.ImportPath)
		if level < 0 {
			t.Errorf("%s is in no layer: add %q to layers", p.ImportPath, from)
		}
		for _, path := range p.Imports {
			if !strings.HasPrefix(path, module+"/") {
				continue
			}
			to, below := layer(path)
			if below > level {
				t.Errorf("%s imports %s, which stands above it", p.ImportPath, path)
			}
			if from == "mta" && to == "mda" || from == "mda" && to == "mta" {
				t.Errorf("%s imports %s: mail transport and mailbox service do not know each other", p.ImportPath, path)
			}
		}
	}
}

func TestEveryPackageExplainsItself(t *testing.T) {
	for _, p := range packages(t) {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = ""
		}
		if p.Doc == "" && len(p.GoFiles) > 0 || !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment must begin with %q, it is %q", p.ImportPath, want, p.Doc)
		}
		if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "misc"}, p.Name) {
			t.Errorf("%s: the name does not say what the package is for", p.ImportPath)
		}
	}
}

// maxLines is where a file must have a second subject.
const maxLines = 900

func TestFilesHaveOneSubject(t *testing.T) {
	for _, p := range packages(t) {
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(text, []byte("\n")); n > maxLines {
				t.Errorf("%s has %d lines", name, n)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), name, text, parser.PackageClauseOnly); err != nil {
				t.Error(err)
			}
		}
	}
}
