package dovecot

import (
	"fmt"
	"path/filepath"
	"strings"
)

func (p *parser) assignment(ln line) error {
	// Dovecot converts only plain values.
	if path := p.cur().sec.set.Path; ln.kind == lineKey && (path == "" || path == "plugin") {
		done, err := p.convert(path, &ln)
		if done || err != nil {
			return err
		}
	}
	return p.assign(ln)
}

// assign sets one key of the open section; a slash path reaches into
// sections that exist.
func (p *parser) assign(ln line) error {
	sec, set, key, err := p.target(ln.key)
	if err != nil {
		return err
	}
	if len(p.stack) == 1 && !sec.set.ordered() {
		p.warnEarlierFilter(ln.key, sec, key)
	}
	v, err := p.value(ln, set)
	if err != nil {
		return err
	}
	if set != nil {
		if err := p.allowed(set, ln.key); err != nil {
			return err
		}
	}
	p.seq++
	v.first, v.seq, v.path = v.pos, p.seq, ln.key != key
	if old, ok := sec.keys[key]; ok {
		v.first, v.seq = old.first, old.seq
	}
	sec.keys[key] = v
	return nil
}

// target finds what a key stands for: the section, the setting (nil for a key
// of plugin or dict) and the key in that section.
func (p *parser) target(path string) (sec *section, set *Setting, key string, err error) {
	if p.cur().missing {
		return nil, nil, "", p.unknown(path)
	}
	sec = p.cur().sec
	if sec.set.Kind == KindStrMap {
		if strings.Contains(path, "/") {
			return nil, nil, "", p.unknown(path)
		}
		return sec, nil, path, nil
	}
	parts := strings.Split(path, "/")
	for len(parts) > 1 {
		list := sec.set.knownFold(parts[0])
		if list == nil || !list.section() {
			return nil, nil, "", p.unknown(path)
		}
		if list.Kind == KindStrMap {
			if len(parts) != 2 {
				return nil, nil, "", p.unknown(path)
			}
			sec, _ = p.enter(sec, list, "")
			return sec, nil, pathUnescape(parts[1]), nil
		}
		if sec = p.existing(sec, list, pathUnescape(parts[1])); sec == nil || len(parts) == 2 {
			return nil, nil, "", p.unknown(path)
		}
		parts = parts[2:]
	}
	set = sec.set.known(parts[0])
	if set == nil || set.section() {
		return nil, nil, "", p.unknown(path)
	}
	_, key = filepath.Split(set.Path)
	return sec, set, key, nil
}

// existing finds a section by name for a slash path: one of this layer, or a
// built-in one, which it then overrides.
func (p *parser) existing(parent *section, list *Setting, name string) *section {
	if sub := parent.subFold(list, name); sub != nil {
		return sub
	}
	base := p.builtin(parent, list, name)
	if base == nil {
		return nil
	}
	sub := newSection(list, base.name, -1, pos{}) // the section itself is not configured
	parent.subs = append(parent.subs, sub)
	return sub
}

// builtin finds the built-in section that one of parent's, which has that name, adds to.
func (p *parser) builtin(parent *section, list *Setting, name string) *section {
	if parent.set.Path == "" {
		return p.base.subFold(list, name)
	}
	if b := p.base.sub(parent.set, parent.name); b != nil {
		return b.subFold(list, name)
	}
	return nil
}

// pathUnescape undoes pathEscape.
func pathUnescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\s`, `/`, `\e`, `=`, `\_`, ` `, `\+`, `,`, `\\`, `\`).Replace(s)
}

// value makes the value of an assignment.
func (p *parser) value(ln line, set *Setting) (value, error) {
	v := value{text: ln.value, pos: p.pos}
	switch ln.kind {
	case lineFile:
		v.file = p.relative(ln.value)
		if set != nil && set.Kind != KindString && set.Kind != KindVars && set.Kind != KindPath {
			_, err := set.canonical("<" + ln.value)
			return v, err
		}
		if p.opts.expandFiles {
			return v, p.expandFile(ln.key, set, &v)
		}
		return v, nil
	case lineVariable:
		if err := p.expand(&v, set, ln.key); err != nil {
			return v, err
		}
	}
	if set == nil || v.file != "" {
		return v, nil
	}
	var err error
	v.text, err = set.canonical(v.text)
	return v, err
}

// expandFile reads the file of a value now, if the settings of its module are wanted.
func (p *parser) expandFile(key string, set *Setting, v *value) error {
	if set != nil && !set.readBy(p.opts.modules) {
		v.read = true
		return nil
	}
	return p.cfg.readFile(p.sectionPath()+key, v)
}

// sectionPath is the open sections as they stand in the path of a setting.
func (p *parser) sectionPath() string {
	var path string
	for _, b := range p.stack {
		if b.sec.set.Path == "" {
			continue
		}
		id := pathEscape(b.sec.id())
		if b.sec.set.Kind == KindStrMap {
			id = "0" // an unnamed section to Dovecot
		}
		path += filepath.Base(b.sec.set.Path) + "/" + id + "/"
	}
	return path
}

// warnEarlierFilter warns about a global value that a filter further up hides. Of plugin/key
// Dovecot finds only what was written as a path there too.
func (p *parser) warnEarlierFilter(written string, sec *section, key string) {
	for _, l := range p.cfg.layers[1:] {
		other := l.root
		if sec != p.cfg.layers[0].root {
			if other = l.root.sub(sec.set, sec.id()); other == nil {
				continue
			}
		}
		if v, ok := other.keys[key]; ok && (v.path || sec.set.Kind != KindStrMap) {
			at := p.cfg.whereWords(v.first)
			p.warn(fmt.Sprintf("%s: Global setting %s won't change the setting inside an earlier filter at %s (if this is intentional, avoid this warning by moving the global setting before %s)",
				p.cfg.whereWords(p.pos), written, at, at))
			return
		}
	}
}
