package postfix

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Main is a parsed main.cf with the overrides of one service. It never changes and may be
// used by many goroutines.
type Main struct {
	dir       string
	values    map[string]entry
	overrides map[string]string
	computed  *computed
	warnings  []string // Postfix's own
}

const maxWarnings = 1000

// Load reads dir/main.cf. Parameters are checked by the Decode that asks for
// them, as each of Postfix's programs checks its own; [Main.Check] makes the
// checks that every program makes. Before it serves anyone, the master also
// calls [Main.Refused] and [Main.CheckUsers].
func Load(dir string) (*Main, error) {
	m := newMain(dir)
	values, err := readFile(filepath.Join(dir, "main.cf"), m.values, m.warn)
	if err != nil {
		return nil, err
	}
	return m.loaded(values)
}

// Parse is Load for the text of a main.cf; dir stands for the directory.
func Parse(dir, text string) (*Main, error) { return read(dir, strings.NewReader(text)) }

func read(dir string, r io.Reader) (*Main, error) {
	m := newMain(dir)
	values, err := readSettings(r, filepath.Join(dir, "main.cf"), m.values, m.warn)
	if err != nil {
		return nil, err
	}
	return m.loaded(values)
}

func newMain(dir string) *Main {
	return &Main{dir: dir, values: map[string]entry{}, computed: newComputed()}
}

func (m *Main) loaded(values map[string]entry) (*Main, error) {
	m.values = values
	if e, ok := values["config_directory"]; ok && e.value != m.dir {
		m.warn(fmt.Sprintf("%s, line %d: overriding earlier entry: config_directory=%s", filepath.Join(m.dir, "main.cf"), e.line, m.dir))
	}
	return m, m.checkLevel()
}

// Read reads dir/main.cf for a tool that must work where nothing else does: it
// checks the syntax of the lines and no value, and warnings go to warn when they
// arise. Without a main.cf the caller goes on with the empty one of [Empty].
func Read(dir string, warn func(text string)) (*Main, error) {
	m := newMain(dir)
	var err error
	m.values, err = readFile(filepath.Join(dir, "main.cf"), m.values, warn)
	return m, err
}

// Empty is a main.cf that sets nothing.
func Empty(dir string) *Main { return newMain(dir) }

// Settings returns what main.cf sets, in the order of its last entries.
func (m *Main) Settings() []Setting { return sortSettings(m.values) }

// checkLevel refuses a compatibility level that is none, because the
// defaults of so many parameters depend on it.
func (m *Main) checkLevel() error {
	s, _, err := m.Expand("compatibility_level")
	if err != nil {
		return err
	}
	_, err = parseLevel(s)
	return err
}

// errnoText is the system's text of an error as C programs print it.
func errnoText(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	s := no.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

func (m *Main) warn(text string) {
	if len(m.warnings) < maxWarnings {
		m.warnings = append(m.warnings, text)
	}
}

// Dir is the configuration directory.
func (m *Main) Dir() string { return m.dir }

// Warnings are the texts to be logged when the configuration is put to use.
func (m *Main) Warnings() []string { return slices.Concat(m.warnings, m.withoutEffect()) }

// With returns m with overrides on top, as the -o options of a master.cf
// entry. Names of the program's own attributes (service_name, process_name,
// stress) are set the same way.
func (m *Main) With(overrides map[string]string) *Main {
	n := *m
	n.overrides = maps.Clone(m.overrides)
	if n.overrides == nil {
		n.overrides = map[string]string{}
	}
	maps.Copy(n.overrides, overrides)
	return &n
}

// IsSet reports whether a parameter is in main.cf or overridden; the message
// about a backwards-compatible default is for those that are not.
func (m *Main) IsSet(name string) bool {
	_, ok := m.value(name)
	return ok
}

// Origin tells where a parameter was set, as "file, line N", "-o" for an override
// and "" for a default.
func (m *Main) Origin(name string) string {
	if _, ok := m.overrides[name]; ok {
		return "-o"
	}
	if e, ok := m.values[name]; ok {
		return filepath.Join(m.dir, "main.cf") + ", line " + strconv.Itoa(e.line)
	}
	return ""
}

// Level compares the compatibility_level with another: negative if it is below.
func (m *Main) Level(other string) (int, error) {
	s, _, err := m.Expand("compatibility_level")
	if err != nil {
		return 0, err
	}
	return compareLevels(s, other)
}

func (m *Main) value(name string) (string, bool) {
	if v, ok := m.overrides[name]; ok {
		return v, true
	}
	e, ok := m.values[name]
	return e.value, ok
}

// Raw is a parameter as it was written, or its default.
func (m *Main) Raw(name string) (string, bool) { return m.raw(name, Lookup(name)) }

func (m *Main) raw(name string, p *Param) (string, bool) {
	if v, ok := m.value(name); ok && (p == nil || !p.ReadOnly) {
		return v, true
	}
	if v, ok := m.overrides[name]; ok { // the program's own attributes
		return v, true
	}
	if name == "config_directory" {
		return m.dir, true
	}
	if p != nil {
		return m.Default(p), true
	}
	return m.transportDefault(name)
}

// Default is the default of a parameter; one that is made at run time depends on
// what m sets.
func (m *Main) Default(p *Param) string {
	if p.Computed {
		return m.computed.value(m, p.Name)
	}
	return p.Default
}

// Expand gives the value of any parameter with $name expanded: built-in ones,
// user-defined ones, restriction classes, <transport>_* ones. The bool is
// false if it has neither a value nor a default.
func (m *Main) Expand(name string) (string, bool, error) {
	raw, ok := m.Raw(name)
	if !ok {
		return "", false, nil
	}
	v, err := m.ExpandText(raw)
	return v, true, err
}

// ExpandText replaces the $name in any text, such as a -o value.
func (m *Main) ExpandText(s string) (string, error) {
	return ExpandText(s, m.Raw)
}

func (m *Main) transportDefault(name string) (string, bool) {
	for _, t := range serviceParams {
		if transport, ok := strings.CutSuffix(name, t.Suffix); ok && transport != "" {
			return "$" + t.Default, true
		}
	}
	return "", false
}
