package dovecot

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// RegisterPlugin declares that the word name in mail_plugins is understood, and
// which keys of plugin { } it makes meaningful, as patterns of package path
// ("quota*_rule*"). Like Register it is called from package variables.
func RegisterPlugin(name string, keys ...string) struct{} {
	plugins[name] = true
	pluginKeys = append(pluginKeys, keys...)
	return struct{}{}
}

var (
	plugins    = map[string]bool{}
	pluginKeys []string
)

// A configured value, for the reports below.
type configured struct {
	set     *Setting // nil for a key of plugin { } that no one knows
	path    string
	section string // the name of the section that it is in
	value
}

// eachValue calls fn for every value that the files set.
func (c *Config) eachValue(fn func(configured)) {
	var walk func(s *section)
	walk = func(s *section) {
		keys := make([]string, 0, len(s.keys))
		for k := range s.keys {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			set := s.set.known(k)
			if set == nil && s.set.Path == "plugin" {
				set = pluginFamily(k)
			}
			fn(configured{set: set, path: joinPath(s.set.Path, k), section: s.name, value: s.keys[k]})
		}
		for _, sub := range s.subs {
			walk(sub)
		}
	}
	for _, l := range c.layers {
		walk(l.root)
	}
}

// pluginFamily finds the catalog's row for a numbered plugin setting, such as
// quota[N]_rule[M] for quota2_rule.
func pluginFamily(key string) *Setting { return pluginFamilies()[withoutDigits(key)] }

func withoutDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, s)
}

// supported reports whether something uses the value.
func (v configured) supported() bool {
	if v.set != nil && v.set.Supported {
		return true
	}
	if v.path == "service/executable" && clientProgram(v.text) != nil {
		return true
	}
	key, ok := strings.CutPrefix(v.path, "plugin/")
	return ok && slices.ContainsFunc(pluginKeys, func(p string) bool {
		match, _ := path.Match(p, key)
		return match
	})
}

// changed reports whether the value is not the default.
func (v configured) changed() bool {
	return v.file != "" || v.set == nil || v.text != v.set.Default
}

// warnNoEffect collects a warning for each setting that is set to
// something else than its default and used by nothing.
func (c *Config) warnNoEffect() {
	seen := map[string]bool{}
	report := func(name, why string) {
		text := fmt.Sprintf("setting %s has no effect: %s", name, why)
		if !seen[text] && len(c.noEffect) < maxWarnings {
			seen[text] = true
			c.noEffect = append(c.noEffect, text)
		}
	}
	c.eachValue(func(v configured) {
		if v.path == "mail_plugins" {
			for name := range strings.FieldsSeq(v.text) {
				if !plugins[name] && !strings.HasPrefix(name, "$") {
					report("mail_plugins", "there is no plugin "+name+whyNot(name))
				}
			}
		}
		if v.set != nil && v.changed() && !v.supported() {
			report(v.path, reason(v.set))
		}
	})
	for _, l := range c.layers[1:] {
		for _, key := range slices.Sorted(maps.Keys(l.root.keys)) {
			if set := l.root.set.known(key); l.cond.scope()&^set.Scope != 0 {
				report(key+" in a filter", fmt.Sprintf("it cannot vary by what the filter at %s matches", c.where(l.pos)))
			}
		}
	}
}

// whyNot adds why there is no plugin of this name.
func whyNot(name string) string {
	if why := noEffectPlugins[name]; why != "" {
		return ": " + why
	}
	return ""
}

// Refused returns an error for the first setting that must not be ignored but
// is not supported. The master calls it, with all daemons linked in.
func (c *Config) Refused() error {
	var err error
	fail := func(v configured, name, why string) {
		if err == nil {
			err = &Error{File: c.files[v.pos.file], Line: v.pos.line,
				Text: fmt.Sprintf("%s is not supported, and without it %s: remove it to start all the same", name, why)}
		}
	}
	c.eachValue(func(v configured) {
		if v.path == "mail_plugins" {
			for name := range strings.FieldsSeq(v.text) {
				if why := refusedPlugins[name]; why != "" && !plugins[name] {
					fail(v, "mail_plugins: "+name, why)
				}
			}
		}
		for _, r := range refused {
			if r.path == v.path && r.asks(v) && !v.supported() {
				fail(v, v.path, r.why)
			}
		}
	})
	return err
}

// Status says what becomes of a setting, for the table of what is covered.
type Status string

// What becomes of a setting that is set.
const (
	Supported Status = "supported"
	NoEffect  Status = "no effect"
	Refused   Status = "refused"
)

// Coverage returns the status of a setting and, unless it is supported, why.
func (s *Setting) Coverage() (Status, string) {
	if (configured{set: s, path: s.Path}).supported() {
		return Supported, ""
	}
	for _, r := range refused {
		if r.path == s.Path {
			return Refused, "without it " + r.why
		}
	}
	return NoEffect, reason(s)
}
