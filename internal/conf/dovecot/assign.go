package dovecot

import (
	"fmt"
	"path/filepath"
	"strings"
)

func (p *parser) assignment(ln line) error {
	if p.cur().oldAuth {
		ln.key = "auth_" + ln.key
	}
	if p.cur().sec.set.Path == "" || p.cur().sec.set.Path == "plugin" {
		if rewrite := obsolete[joinPath(p.cur().sec.set.Path, ln.key)]; rewrite != nil {
			done, err := rewrite(p, &ln)
			if done || err != nil {
				return err
			}
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
	if set != nil {
		if err := p.allowed(set, ln.key); err != nil {
			return err
		}
	}
	v, err := p.value(ln, set)
	if err != nil {
		return err
	}
	if p.cur().layer == p.cfg.layers[0] && !sec.set.ordered() {
		p.warnEarlierFilter(ln.key, sec, key)
	}
	v.first = v.pos
	if old, ok := sec.keys[key]; ok {
		v.first = old.first
	}
	sec.keys[key] = v
	return nil
}

// target finds what a key stands for: the section, the setting (nil for a key
// of plugin or dict) and the key in that section.
func (p *parser) target(path string) (sec *section, set *Setting, key string, err error) {
	sec = p.cur().sec
	if sec.set.Kind == KindStrMap {
		if strings.Contains(path, "/") {
			return nil, nil, "", p.unknown(path)
		}
		return sec, nil, path, nil
	}
	parts := strings.Split(path, "/")
	for len(parts) > 1 {
		list := sec.set.known(parts[0])
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
	if sub := parent.sub(list, name); sub != nil {
		return sub
	}
	var base *section
	if parent.set.Path == "" {
		base = p.base.sub(list, name)
	} else if b := p.base.sub(parent.set, parent.name); b != nil {
		base = b.sub(list, name)
	}
	if base == nil {
		return nil
	}
	sub := newSection(list, name, -1, p.pos)
	parent.subs = append(parent.subs, sub)
	return sub
}

// pathUnescape undoes the escaping of section names in paths: \s is a slash.
func pathUnescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\s`, `/`, `\e`, `=`, `\\`, `\`).Replace(s)
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

// warnEarlierFilter warns about a global value that a filter further up hides.
func (p *parser) warnEarlierFilter(written string, sec *section, key string) {
	for _, l := range p.cfg.layers[1:] {
		other := l.root
		if sec != p.cfg.layers[0].root {
			if other = p.counterpart(l.root, sec); other == nil {
				continue
			}
		}
		if v, ok := other.keys[key]; ok {
			at := p.cfg.whereWords(v.first)
			p.warn(fmt.Sprintf("%s: Global setting %s won't change the setting inside an earlier filter at %s (if this is intentional, avoid this warning by moving the global setting before %s)",
				p.cfg.whereWords(p.pos), written, at, at))
			return
		}
	}
}

// counterpart finds the section of another layer that corresponds to sec,
// which is the open section or one directly below it.
func (p *parser) counterpart(root, sec *section) *section {
	at := root
	for _, b := range p.stack[1:] {
		if at = at.sub(b.sec.set, b.sec.id()); at == nil || b.sec == sec {
			return at
		}
	}
	return at.sub(sec.set, sec.id())
}
