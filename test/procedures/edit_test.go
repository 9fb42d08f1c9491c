package procedures

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/packaging"
)

// install copies the files of the packages to a directory that stands for /etc.
func install(t *testing.T) (etc string) {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, packaging.Files); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o644) // embedded files are read-only
	})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "etc")
}

// An edit changes the lines of one file. Its error says what was not there.
type edit struct {
	file string // below /etc
	do   func(lines []string) ([]string, error)
}

func (e edit) apply(etc string) error {
	path := filepath.Join(etc, e.file)
	var lines []string
	text, err := os.ReadFile(path)
	if err == nil {
		lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	} else if !os.IsNotExist(err) {
		return err
	}
	if lines, err = e.do(lines); err != nil {
		return fmt.Errorf("%s: %w", e.file, err)
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// change sets a setting whose line is there: the one in effect, or the one
// that is commented out.
func change(file, name, value string) edit {
	return edit{file, func(lines []string) ([]string, error) {
		active := regexp.MustCompile(`^\s*` + name + `\s*=`)
		commented := regexp.MustCompile(`^\s*#` + name + `\s*=`)
		i := slices.IndexFunc(lines, active.MatchString)
		if i < 0 {
			i = slices.IndexFunc(lines, commented.MatchString)
		}
		if i < 0 {
			return nil, fmt.Errorf("there is no line %s = to change", name)
		}
		lines[i] = name + " = " + value
		return lines, nil
	}}
}

// uncomment takes the # away from a line.
func uncomment(file, line string) edit {
	return edit{file, func(lines []string) ([]string, error) {
		i := slices.Index(lines, "#"+line)
		if i < 0 {
			return nil, fmt.Errorf("there is no line #%s to uncomment", line)
		}
		lines[i] = line
		return lines, nil
	}}
}

// comment puts a # before a line.
func comment(file, line string) edit {
	return edit{file, func(lines []string) ([]string, error) {
		i := slices.Index(lines, line)
		if i < 0 {
			return nil, fmt.Errorf("there is no line %s to comment out", line)
		}
		lines[i] = "#" + line
		return lines, nil
	}}
}

// inSection adds text to the section that begins with a line.
func inSection(file, begin, text string) edit {
	return edit{file, func(lines []string) ([]string, error) {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.TrimSpace(l) == begin })
		if i < 0 {
			return nil, fmt.Errorf("there is no section %s", begin)
		}
		return slices.Insert(lines, i+1, text), nil
	}}
}

// add appends text to a file that may not set the parameters of it yet.
func add(file, text string) edit {
	return edit{file, func(lines []string) ([]string, error) {
		for line := range strings.Lines(text) {
			name, _, ok := strings.Cut(line, " =")
			if ok && !strings.HasPrefix(line, " ") && slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+" =") }) {
				return nil, fmt.Errorf("%s is there already", name)
			}
		}
		return append(lines, text), nil
	}}
}

// create makes a file that the packages do not install.
func create(file, text string) edit {
	return edit{file, func(lines []string) ([]string, error) {
		if lines != nil {
			return nil, fmt.Errorf("the file is there already")
		}
		return []string{text}, nil
	}}
}

// A step is one step of a procedure.
type step struct {
	number string
	edits  []edit
}

// A procedure is one of the document's.
type procedure struct {
	number string
	after  []string // others that it takes for granted
	steps  []step
	want   []string // lines that doveconf -n or postconf -n prints then
	fatal  string   // or why it does not
}

// follow takes the steps of a procedure, after those it depends on.
func follow(t *testing.T, all []procedure, p procedure, etc string) {
	t.Helper()
	for _, before := range p.after {
		i := slices.IndexFunc(all, func(q procedure) bool { return q.number == before })
		if i < 0 {
			t.Fatalf("there is no procedure %s", before)
		}
		follow(t, all, all[i], etc)
	}
	for _, s := range p.steps {
		for _, e := range s.edits {
			if err := e.apply(etc); err != nil {
				t.Fatalf("procedure %s, step %s: %v", p.number, s.number, err)
			}
		}
	}
}
