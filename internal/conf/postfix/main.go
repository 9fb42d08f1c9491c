package postfix

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// Main is a parsed main.cf with the overrides of one service. It never changes and may be
// used by many goroutines.
type Main struct {
	dir       string
	values    map[string]entry
	overrides map[string]string
	computed  *computed
	warnings  []string // Postfix's own
	noEffect  []string // parameters that do nothing
}

// An entry is one parameter of main.cf.
type entry struct {
	value string
	line  int
}

const (
	maxConfig   = 64 << 20 // bytes of names and values kept
	maxWarnings = 1000
)

// Load reads dir/main.cf. Parameters are checked by the Decode that asks for
// them, as each of Postfix's programs checks its own; [Main.Check] makes the
// checks that every program makes. Before it serves anyone, the master also
// calls [Main.Refused] and [Main.CheckUsers].
func Load(dir string) (*Main, error) {
	path := filepath.Join(dir, "main.cf")
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %s", path, errnoText(err))
	}
	defer f.Close()
	return read(dir, f)
}

// Parse is Load for the text of a main.cf; dir stands for the directory.
func Parse(dir, text string) (*Main, error) { return read(dir, strings.NewReader(text)) }

func read(dir string, r io.Reader) (*Main, error) {
	path := filepath.Join(dir, "main.cf")
	m := &Main{dir: dir, values: map[string]entry{}, computed: newComputed()}
	lines := logline.NewReader(r, path, m.warn)
	size := 0
	for {
		text, num, err := lines.Next()
		if err == io.EOF {
			m.warnNoEffect()
			return m, m.checkLevel()
		}
		if errors.Is(err, logline.ErrTooLong) {
			return nil, fmt.Errorf("%s, line %d: %w", path, num, err)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %s", path, errnoText(err))
		}
		if size += len(text); size > maxConfig {
			return nil, fmt.Errorf("%s, line %d: the file is too large", path, num)
		}
		name, value, err := splitNameValue(text)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w: \"%s\"", path, num, err, text)
		}
		m.set(path, name, entry{value, num})
	}
}

func (m *Main) set(path, name string, e entry) {
	if old, ok := m.values[name]; ok && old.value != e.value {
		m.warn(fmt.Sprintf("%s, line %d: overriding earlier entry: %s=%s", path, e.line, name, old.value))
	}
	m.values[name] = e
}

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
func (m *Main) Warnings() []string { return slices.Concat(m.warnings, m.noEffect) }

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
func (m *Main) Raw(name string) (string, bool) {
	if v, ok := m.value(name); ok {
		return v, true
	}
	if name == "config_directory" {
		return m.dir, true
	}
	if p := schema().params[name]; p != nil {
		if p.Computed {
			return m.computed.value(m, name), true
		}
		return p.Default, true
	}
	return m.transportDefault(name)
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
	v, err := expandText(s, m.lookup)
	if err != nil {
		return "", err
	}
	return v, nil
}

// lookup is what the $name of an expression stands for.
func (m *Main) lookup(name string) (string, bool) { return m.Raw(name) }

// transportSuffixes are the parameters that exist for every delivery
// transport, with the parameter that gives the default.
var transportSuffixes = []struct{ suffix, from string }{
	{"_destination_concurrency_failed_cohort_limit", "default_destination_concurrency_failed_cohort_limit"},
	{"_destination_concurrency_positive_feedback", "default_destination_concurrency_positive_feedback"},
	{"_destination_concurrency_negative_feedback", "default_destination_concurrency_negative_feedback"},
	{"_initial_destination_concurrency", "initial_destination_concurrency"},
	{"_destination_concurrency_limit", "default_destination_concurrency_limit"},
	{"_destination_recipient_limit", "default_destination_recipient_limit"},
	{"_destination_rate_delay", "default_destination_rate_delay"},
	{"_transport_rate_delay", "default_transport_rate_delay"},
	{"_extra_recipient_limit", "default_extra_recipient_limit"},
	{"_recipient_refill_limit", "default_recipient_refill_limit"},
	{"_recipient_refill_delay", "default_recipient_refill_delay"},
	{"_recipient_limit", "default_recipient_limit"},
	{"_delivery_slot_cost", "default_delivery_slot_cost"},
	{"_delivery_slot_loan", "default_delivery_slot_loan"},
	{"_delivery_slot_discount", "default_delivery_slot_discount"},
	{"_minimum_delivery_slots", "default_minimum_delivery_slots"},
	{"_time_limit", "command_time_limit"},
}

func (m *Main) transportDefault(name string) (string, bool) {
	for _, t := range transportSuffixes {
		if transport, ok := strings.CutSuffix(name, t.suffix); ok && transport != "" {
			return "$" + t.from, true
		}
	}
	return "", false
}
