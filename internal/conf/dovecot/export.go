package dovecot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
)

// Show says which settings a printout has.
type Show uint8

// What doveconf can be asked to print.
const (
	ShowAll     Show = iota // all, hidden ones only if they are set
	ShowHidden              // all
	ShowChanged             // those that differ from their defaults
	ShowSet                 // those that the configuration sets
)

// Selection says which settings to export, and for whom.
type Selection struct {
	Filter  Filter
	Show    Show
	Modules []string // Dovecot's modules whose settings are wanted; nil for all
	Flat    bool     // for Export.WriteFlat, which knows no defaults of built-in services

	// Computed are values that count as set where the configuration has none.
	Computed map[string]string
}

// An Export is the settings of a Config that a Selection has, in Dovecot's order.
type Export struct {
	c       *Config
	sel     Selection
	entries []entry
}

// An entry is a setting with its value, or a list of sections.
type entry struct {
	set      *Setting // nil for a key of plugin or dict
	key      string
	value    string // of a list: the ids of the sections
	title    bool   // the value is the name of the section and stands in its first line
	list     bool
	sections []exported
}

// An exported section.
type exported struct {
	id      string // escaped name or number; empty for plugin and dict
	name    string
	entries []entry
}

// Export collects settings. It fails, like Decode, if two filters that match the
// selection's contradict each other.
func (c *Config) Export(sel Selection) (*Export, error) {
	if err := c.conflict(c.matching(sel.Filter)); err != nil {
		return nil, err
	}
	return c.export(sel, c.view(sel.Filter)), nil
}

func (c *Config) export(sel Selection, v view) *Export {
	x := &exporter{sel: sel, modules: withParts(sel.Modules)}
	return &Export{c: c, sel: sel, entries: x.section(schema().root, v, false)}
}

// exportLayer exports what one filter sets.
func (c *Config) exportLayer(sel Selection, l *layer) *Export {
	sel.Show, sel.Computed = ShowSet, nil
	return c.export(sel, view{l.root})
}

type exporter struct {
	sel     Selection
	modules []string
}

// section exports the section that v shows. A unique one has its name in its first line.
func (x *exporter) section(set *Setting, v view, unique bool) []entry {
	var out []entry
	nameKey := ""
	if set.Path != "" {
		nameKey = set.nameKey()
	}
	for _, s := range set.list {
		key := s.Path[strings.LastIndexByte(s.Path, '/')+1:]
		if set.Path == "" && !s.readBy(x.modules) {
			continue
		}
		switch s.Kind {
		case KindStrMap:
			out = x.strMap(out, s, key, v)
		case KindList:
			out = x.list(out, s, key, v)
		default:
			e := entry{set: s, key: key, title: unique && key == nameKey}
			if x.scalar(&e, v, key == nameKey, unique) {
				out = append(out, e)
			}
		}
	}
	return out
}

// readBy reports whether one of the modules reads the setting; no modules are all.
func (s *Setting) readBy(modules []string) bool {
	return modules == nil || s.common ||
		slices.ContainsFunc(s.roots, func(m string) bool { return slices.Contains(modules, m) })
}

// scalar sets e.value and reports whether the setting is to be shown.
func (x *exporter) scalar(e *entry, v view, name, unique bool) bool {
	val, ok := v.value(e.key)
	explicit := ok && val.pos.line != 0
	switch {
	case ok:
	case name:
		val.text, explicit = v.name(), v.configured()
	case x.sel.Computed[e.set.Path] != "":
		val.text, explicit = x.sel.Computed[e.set.Path], true
	case e.set.Unset || e.set.only != "" && e.set.only != flavor.Name:
		return false
	default:
		val.text = e.set.Default
	}
	e.value = val.shown()
	if unique && !x.sel.Flat {
		// Defaults of built-in sections are not told apart from values that are not set. Dovecot
		// takes each value with %variables for changed here.
		if explicit || e.title || e.set.Kind == KindVars {
			return true
		}
		return x.all(e.set, explicit)
	}
	return x.all(e.set, explicit) || val.file != "" || e.set.Unset || !e.isDefault()
}

// isDefault reports whether the value counts as the default. To Dovecot the
// beginning of a word of an enum does too: "return" of "return-ok".
func (e *entry) isDefault() bool {
	return e.value == e.set.Default || e.set.Kind == KindEnum && e.value != "" && strings.HasPrefix(e.set.Default, e.value)
}

// all reports whether a setting is shown even if it has its default.
func (x *exporter) all(s *Setting, explicit bool) bool {
	switch x.sel.Show {
	case ShowHidden:
		return true
	case ShowAll:
		return explicit || !s.Hidden
	case ShowSet:
		return explicit
	}
	return false
}

// shown is the value as doveconf prints it.
func (v value) shown() string {
	switch {
	case v.read:
		return v.content
	case v.file != "":
		return "<" + v.text
	}
	return v.text
}

// strMap exports plugin or dict. Their keys stay in the order in which they were
// set, those of more specific filters first.
func (x *exporter) strMap(out []entry, set *Setting, key string, v view) []entry {
	v = v.sub(set, "")
	if len(v) == 0 {
		return out
	}
	e := entry{set: set, key: key, list: true, sections: []exported{{}}}
	in := &e.sections[0].entries
	seen := map[string]bool{}
	for _, s := range v {
		start := len(*in)
		order := map[string]int{}
		for k, val := range s.keys {
			if !seen[k] {
				seen[k] = true
				order[k] = val.seq
				*in = append(*in, entry{key: k, value: val.shown()})
			}
		}
		slices.SortFunc((*in)[start:], func(a, b entry) int { return order[a.key] - order[b.key] })
	}
	return append(out, e)
}

func (x *exporter) list(out []entry, set *Setting, key string, v view) []entry {
	subs := v.subs(set)
	if len(subs) == 0 {
		return out
	}
	e := entry{set: set, key: key, list: true}
	ids := make([]string, len(subs))
	for i, sub := range subs {
		sec := exported{id: strconv.Itoa(i), name: sub.name()}
		if !set.ordered() && sec.name != "" {
			sec.id = pathEscape(sec.name)
		}
		ids[i] = sec.id
		sec.entries = x.section(set, sub, !set.ordered())
		e.sections = append(e.sections, sec)
	}
	e.value = strings.Join(ids, " ")
	return append(out, e)
}

// name is that of the section, which may be set inside of it.
func (v view) name() string {
	if val, ok := v.value(v[0].set.nameKey()); ok {
		return val.shown()
	}
	return v[0].name
}

// configured reports whether the configuration has the section, be it without keys.
func (v view) configured() bool {
	return slices.ContainsFunc(v, func(s *section) bool { return s.pos.line != 0 })
}

// pathEscape is the reverse of pathUnescape.
func pathEscape(name string) string {
	if !strings.ContainsAny(name, `=/\ ,`) {
		return name
	}
	return strings.NewReplacer(`=`, `\e`, `/`, `\s`, `\`, `\\`, ` `, `\_`, `,`, `\+`).Replace(name)
}

// conflict looks for a setting that two filters set of which neither is the
// more specific one. The layers are those of a lookup. Like Dovecot it compares a filter only with the next more
// specific one that matches.
func (c *Config) conflict(layers []*layer) error {
	if len(layers) <= 2 {
		return nil
	}
	set := map[string]bool{}
	for i, l := range layers {
		if i > 0 && len(set) > 0 && !l.cond.wider(layers[i-1].cond) {
			if key := l.root.firstOf(set, ""); key != "" {
				return fmt.Errorf("Conflict in setting %s found from filter at %s", key, c.where(l.pos))
			}
		}
		if i < len(layers)-1 {
			l.root.collect(set, "")
		}
	}
	return nil
}

// collect adds the paths of the keys of the section, except those in lists that are
// not merged.
func (s *section) collect(set map[string]bool, prefix string) {
	s.eachKey(func(key string) bool {
		set[prefix+key] = true
		return false
	})
	for _, sub := range s.subs {
		if sub.merged() {
			sub.collect(set, prefix+sub.set.Path+"/"+sub.name+"/")
		}
	}
}

// firstOf returns the first key, in Dovecot's order, whose path is in set.
func (s *section) firstOf(set map[string]bool, prefix string) string {
	found := ""
	s.eachKey(func(key string) bool {
		if set[prefix+key] {
			found = key
		}
		return found != ""
	})
	for _, sub := range s.subs {
		if found == "" && sub.merged() {
			found = sub.firstOf(set, prefix+sub.set.Path+"/"+sub.name+"/")
		}
	}
	return found
}

// merged reports whether the section is one with those of the same name in
// other filters, key by key with a most specific one.
func (s *section) merged() bool { return s.set.Kind == KindList && !s.set.ordered() && s.num < 0 }

// eachKey calls fn for the keys of the section in Dovecot's order until it returns true.
func (s *section) eachKey(fn func(key string) bool) {
	for _, set := range s.set.list {
		key := set.Path[strings.LastIndexByte(set.Path, '/')+1:]
		if s.sets(key) && fn(key) {
			return
		}
	}
}

// moduleParts are the modules whose settings belong to another's.
var moduleParts = map[string][]string{
	"imap-login":          {"login"},
	"imap-urlauth-login":  {"login"},
	"managesieve-login":   {"login"},
	"pop3-login":          {"login"},
	"submission-login":    {"login"},
	"mail":                {"maildir", "mbox", "mdbox", "imapc", "pop3c"},
	"imap":                {"mail", "smtp-submit"},
	"imap-urlauth-worker": {"mail"},
	"pop3":                {"mail"},
	"managesieve":         {"mail"},
	"submission":          {"mail"},
	"doveadm":             {"mail"},
	"lda":                 {"mail", "smtp-submit"},
	"lmtp":                {"lda"},
	"ssl-server":          {"ssl"},
}

// withParts adds to modules what belongs to them.
func withParts(modules []string) []string {
	var out []string
	for _, m := range modules {
		out = append(append(out, m), withParts(moduleParts[m])...)
	}
	return out
}
