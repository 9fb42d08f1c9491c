package postfix

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// supported reports whether something uses the parameter: by itself, for every
// transport, or as the old name that the default of another has.
func (p *Param) supported() bool {
	if p.Supported || p.Legacy || p.ReadOnly {
		return true
	}
	for _, t := range serviceParams {
		if strings.HasSuffix(p.Name, t.Suffix) && p.Name != t.Default {
			return Lookup(t.Default).Supported
		}
	}
	return false
}

// unused returns the parameter with a name if a value of it asks for something that
// nothing does: it is not the default, also not when both are expanded.
func (m *Main) unused(name, value string) *Param {
	schema() // knows who uses what
	p := Lookup(name)
	if p == nil || p.supported() || value == p.Default || slices.Contains(installation, name) {
		return nil
	}
	// "smtpd_milters = $mua_milters" asks for nothing while that is empty, and
	// "alias_maps =" only for what is not there not to be.
	is, err := m.ExpandText(value)
	def, errDefault := m.ExpandText(p.Default)
	if err == nil && (errDefault == nil && is == def || is == "" && refusalOf(name) == nil) {
		return nil
	}
	return p
}

// ineffective are the parameters of main.cf that are set and used by nothing.
func (m *Main) ineffective() []*Param {
	var all []*Param
	for _, name := range slices.Sorted(maps.Keys(m.values)) {
		if p := m.unused(name, m.values[name].value); p != nil {
			all = append(all, p)
		}
	}
	return all
}

// withoutEffect has a warning for each such parameter.
func (m *Main) withoutEffect() []string {
	var warnings []string
	for _, p := range m.ineffective() {
		warnings = append(warnings, fmt.Sprintf("setting %s has no effect: %s", p.Name, p.reason()))
	}
	return warnings
}

// refusal is why a value must not be ignored, or "".
func (m *Main) refusal(p *Param, value string) string {
	r := refusalOf(p.Name)
	if r == nil {
		return ""
	}
	if text, err := m.ExpandText(value); err == nil {
		value = text
	}
	if r.asks != nil && !r.asks(value) {
		return ""
	}
	return r.why
}

// Refused returns an error for the first parameter that must not be ignored but
// is not supported. The master calls it, with all daemons linked in, and
// [Master.Refused] for the options of services.
func (m *Main) Refused() error {
	for _, p := range m.ineffective() {
		if why := m.refusal(p, m.values[p.Name].value); why != "" {
			return fmt.Errorf("%s: %w", m.Origin(p.Name), notSupported(p.Name, why))
		}
	}
	return nil
}

func notSupported(what, why string) error {
	return fmt.Errorf("%s is not supported, and without it %s: remove it to start all the same", what, why)
}

// Status says what becomes of a parameter, for the table of what is covered.
type Status string

// What becomes of a parameter that is set.
const (
	Supported Status = "supported"
	NoEffect  Status = "no effect"
	Refused   Status = "refused"
)

// Coverage returns the status of a parameter and, unless it is supported, why.
func (p *Param) Coverage() (Status, string) {
	schema()
	if p.supported() {
		return Supported, ""
	}
	if r := refusalOf(p.Name); r != nil {
		return Refused, "without it " + r.why
	}
	return NoEffect, p.reason()
}
