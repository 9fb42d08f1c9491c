package postfix

import (
	"fmt"
	"maps"
	"slices"
)

// Honors tells what becomes of the -o options of an entry of master.cf.
type Honors uint8

// What may become of them.
const (
	HonorsNone    Honors = iota // the service does not run
	HonorsMain                  // it runs with the parameters of main.cf alone
	HonorsOptions               // it runs with its options
)

// Refused returns an error for the first -o option that must not be ignored. The
// caller knows which entries it runs, and how.
func (m *Master) Refused(main *Main, honors func(*ServiceEntry) Honors) error {
	for i := range m.Services {
		e := &m.Services[i]
		own := e.Main(main)
		for _, name := range e.ineffective(main, honors(e)) {
			if why := own.refusal(Lookup(name), e.Overrides[name]); why != "" {
				return fmt.Errorf("%s: line %d: service %s: %w", e.File, e.Line, e.Name, notSupported("-o "+name, why))
			}
		}
	}
	return nil
}

// WithoutEffect has a warning for each -o option of the services that run which nothing uses.
func (m *Master) WithoutEffect(main *Main, honors func(*ServiceEntry) Honors) []string {
	var warnings []string
	for i := range m.Services {
		e := &m.Services[i]
		for _, name := range e.ineffective(main, honors(e)) {
			why := "the service runs with the parameters of main.cf"
			if p := Lookup(name); !p.supported() {
				why = p.reason()
			}
			warnings = append(warnings, fmt.Sprintf("%s: line %d: service %s: setting -o %s has no effect: %s", e.File, e.Line, e.Name, name, why))
		}
	}
	return warnings
}

// ineffective are the names of the options that are used by nothing, sorted.
func (e *ServiceEntry) ineffective(main *Main, honors Honors) []string {
	var names []string
	own := e.Main(main)
	for _, name := range slices.Sorted(maps.Keys(e.Overrides)) {
		value := e.Overrides[name]
		p := Lookup(name)
		switch {
		case honors == HonorsNone || p == nil:
		case !p.supported():
			if own.unused(name, value) != nil {
				names = append(names, name)
			}
		case honors == HonorsMain && !own.same(main, name):
			names = append(names, name)
		}
	}
	return names
}

// same reports whether a parameter has the same value in both.
func (m *Main) same(o *Main, name string) bool {
	a, _, errA := m.Expand(name)
	b, _, errB := o.Expand(name)
	return errA == nil && errB == nil && a == b
}
