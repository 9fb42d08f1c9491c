package dovecot

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
)

// Printing says how Export.Write prints.
type Printing struct {
	Section   string // print only what is below this path
	Passwords bool   // show passwords and keys
	Filters   bool   // print the filters too, with what they set
}

// Write prints the settings as a configuration file with the same meaning, sorted.
func (x *Export) Write(w io.Writer, how Printing) error {
	p := &printer{how: how}
	p.level(x.entries, "", 0)
	if how.Filters {
		p.filters(x.c, x.sel)
	}
	_, err := w.Write(p.b)
	return err
}

// WriteFilters prints only the filters, for when Export fails.
func (c *Config) WriteFilters(w io.Writer, sel Selection, how Printing) error {
	p := &printer{how: how}
	p.filters(c, sel)
	_, err := w.Write(p.b)
	return err
}

// shownFilters are the filters that are printed for f, the least specific
// first. A condition that f says nothing about does not matter.
func (c *Config) shownFilters(f Filter) []*layer {
	var out []*layer
	for _, l := range c.layers[1:] {
		mask := l.cond
		if f.Service == "" {
			mask.hasService = false
		}
		if f.LocalName == "" {
			mask.localName = ""
		}
		if !f.Local.IsValid() {
			mask.local = network{}
		}
		if !f.Remote.IsValid() {
			mask.remote = network{}
		}
		if mask.match(f) {
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b *layer) int { return compareCond(b.cond, a.cond) })
	return out
}

// A printer collects the text.
type printer struct {
	how Printing
	b   []byte
}

// A piece is a setting or a section among its neighbors.
type piece struct {
	sortKey string
	entry   *entry
	section *exported // nil for a setting
}

// level prints what is directly in one section, and what is below.
func (p *printer) level(entries []entry, path string, depth int) {
	pieces := make([]piece, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		if !e.list {
			if !e.title && p.wanted(path+e.key) {
				pieces = append(pieces, piece{sortKey: e.key + "=", entry: e})
			}
			continue
		}
		for j := range e.sections {
			s := &e.sections[j]
			pieces = append(pieces, piece{e.key + "/" + s.path(), e, s})
		}
	}
	slices.SortFunc(pieces, func(a, b piece) int { return comparePaths(a.sortKey, b.sortKey) })
	for _, pc := range pieces {
		if pc.section == nil {
			p.setting(pc.entry, depth)
		} else {
			p.section(pc.entry.key, pc.section, path+pc.sortKey, depth)
		}
	}
}

// path is the section's part of a path, with its slash.
func (s *exported) path() string {
	if s.id == "" {
		return ""
	}
	return s.id + "/"
}

// wanted reports whether the path is in the section that is to be printed.
func (p *printer) wanted(path string) bool {
	return p.how.Section == "" || below(path, p.how.Section)
}

// comparePaths compares bytewise, as signed numbers; the end of a key comes before all.
func comparePaths(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		switch x, y := a[i], b[i]; {
		case x == y:
		case x == '=':
			return -1
		case y == '=':
			return 1
		default:
			return int(int8(x)) - int(int8(y))
		}
	}
	return len(a) - len(b)
}

func (p *printer) indent(depth int) {
	for range depth {
		p.b = append(p.b, "  "...)
	}
}

// section prints a section that has anything to print.
func (p *printer) section(key string, s *exported, path string, depth int) {
	start := len(p.b)
	p.indent(depth)
	p.b = append(p.b, key...)
	switch {
	case s.title() == "":
	case strings.Contains(s.name, " "):
		p.b = append(p.b, ` "`...)
		p.b = appendEscaped(p.b, s.name)
		p.b = append(p.b, '"')
	default:
		p.b = append(append(p.b, ' '), s.name...)
	}
	p.b = append(p.b, " {\n"...)
	inside := len(p.b)
	p.level(s.entries, path, depth+1)
	if len(p.b) == inside {
		p.b = p.b[:start]
		return
	}
	p.indent(depth)
	p.b = append(p.b, "}\n"...)
}

// title is the name in the section's first line. A passdb or userdb has it inside.
func (s *exported) title() string {
	if slices.ContainsFunc(s.entries, func(e entry) bool { return e.title }) {
		return s.name
	}
	return ""
}

func (p *printer) filters(c *Config, sel Selection) {
	for _, l := range c.shownFilters(sel.Filter) {
		p.filter(c.exportLayer(sel, l), l.cond)
	}
}

// filter prints a filter, one block in the other, if it sets anything.
func (p *printer) filter(x *Export, c cond) {
	start := len(p.b)
	depth := 0
	open := func(kind, arg string) {
		p.indent(depth)
		p.b = append(p.b, kind+" "+arg+" {\n"...)
		depth++
	}
	if c.local.set() {
		open("local", c.local.text)
	}
	if c.localName != "" {
		open("local_name", c.localName)
	}
	if c.remote.set() {
		open("remote", c.remote.text)
	}
	if c.hasService {
		open("protocol", c.service)
	}
	inside := len(p.b)
	p.level(x.entries, "", depth)
	if len(p.b) == inside {
		p.b = p.b[:start]
		return
	}
	for ; depth > 0; depth-- {
		p.indent(depth - 1)
		p.b = append(p.b, "}\n"...)
	}
}

func (p *printer) setting(e *entry, depth int) {
	p.indent(depth)
	p.b = append(append(p.b, e.key...), " = "...)
	quote := needsQuotes(e.value)
	hidden := false
	if !p.how.Passwords {
		p.b, hidden = appendHidden(p.b, e.key, e.value, quote)
	}
	switch {
	case hidden:
	case quote:
		p.b = append(p.b, '"')
		p.b = appendEscaped(p.b, e.value)
		p.b = append(p.b, '"')
	default:
		p.b = append(p.b, e.value...)
	}
	p.b = append(p.b, '\n')
}

func needsQuotes(v string) bool {
	return v != "" && (strings.Contains(v, "#") || isBlank(v[0]) || isBlank(v[len(v)-1]))
}

// appendEscaped puts a backslash before quotes and backslashes.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch s[i] {
		case '"', '\'', '\\':
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return b
}

// WriteFlat prints the settings as path=value, unsorted and with nothing hidden;
// with names only those settings and what is in those sections. Export's
// Selection must have had Flat. It ends where the first module ends whose settings are wrong, and
// returns what is wrong.
func (x *Export) WriteFlat(w io.Writer, names []string) error {
	_, errs, end := x.c.checkSelection(x.sel)
	b := bufio.NewWriter(w)
	for path, value := range x.before(end) {
		if len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return below(path, n) }) {
			fmt.Fprintf(b, "%s=%s\n", path, value)
		}
	}
	if err := b.Flush(); err != nil || len(errs) == 0 {
		return err
	}
	return errs[0]
}

// below reports whether path is that of the section, or of something in it.
func below(path, section string) bool {
	rest, ok := strings.CutPrefix(path, section)
	return ok && (rest == "" || rest[0] == '/')
}

// All are the paths and values of the settings, unsorted; lists have the ids of their sections.
func (x *Export) All() iter.Seq2[string, string] { return x.before(math.MaxInt) }

// before are those up to the place end in the catalog.
func (x *Export) before(end int) iter.Seq2[string, string] {
	n := 0
	for n < len(x.entries) && x.entries[n].set.order <= end {
		n++
	}
	return func(yield func(path, value string) bool) { eachFlat(x.entries[:n], "", yield) }
}

// eachFlat calls fn for all settings and lists until it returns false.
func eachFlat(entries []entry, prefix string, fn func(path, value string) bool) bool {
	for i := range entries {
		e := &entries[i]
		if !fn(prefix+e.key, e.value) {
			return false
		}
		for j := range e.sections {
			s := &e.sections[j]
			if !eachFlat(s.entries, prefix+e.key+"/"+s.path(), fn) {
				return false
			}
		}
	}
	return true
}

// Lookup finds one setting by path. If it is that of sections, section is true instead.
func (x *Export) Lookup(path string) (value string, found, section bool) {
	at := x.entries
	key, rest := "", path
	for {
		var more bool
		key, rest, more = strings.Cut(rest, "/")
		i := slices.IndexFunc(at, func(e entry) bool { return e.key == key })
		switch {
		case i < 0:
			return "", false, false
		case !at[i].list:
			return at[i].value, !more && !at[i].title, false
		case !more:
			return "", false, true
		}
		e := &at[i]
		if e.set.Kind == KindStrMap {
			at = e.sections[0].entries
			continue
		}
		var id string
		id, rest, more = strings.Cut(rest, "/")
		i = slices.IndexFunc(e.sections, func(s exported) bool { return s.id == id })
		if i < 0 || !more {
			return "", false, i >= 0
		}
		at = e.sections[i].entries
	}
}
