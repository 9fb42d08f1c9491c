package dovecot

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

func (p *parser) openFilter(ln line) error {
	cur := p.cur()
	c, err := cur.layer.cond.nest(ln.key, ln.value)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(p.cfg.layers, func(l *layer) bool { return l.cond.equal(c) })
	if i < 0 {
		i = len(p.cfg.layers)
		p.cfg.layers = append(p.cfg.layers, &layer{cond: c, root: newSection(schema().root, "", -1, p.pos), pos: p.pos})
	}
	l := p.cfg.layers[i]
	p.stack = append(p.stack, block{layer: l, sec: p.sameSection(l), start: p.pos})
	return nil
}

// sameSection finds or makes, in layer l, the section that is open now: a filter
// inside a section filters what follows of that section.
func (p *parser) sameSection(l *layer) *section {
	sec := l.root
	for _, b := range p.stack {
		if b.sec.set == sec.set {
			continue
		}
		sub := sec.sub(b.sec.set, b.sec.id())
		if sub == nil {
			sub = newSection(b.sec.set, b.sec.name, b.sec.num, p.pos)
			sec.subs = append(sec.subs, sub)
		}
		sec = sub
	}
	return sec
}

func (p *parser) openSection(ln line) error {
	cur := p.cur()
	switch {
	case cur.sec.set.Kind == KindStrMap:
		return errors.New("Section not allowed here")
	case cur.oldAuth && (ln.key == "passdb" || ln.key == "userdb"):
		return p.oldAuthDatabase(ln)
	case ln.key == "auth" && cur.sec.set == schema().root:
		return p.oldAuthSection()
	}
	return p.openList(ln)
}

func (p *parser) openList(ln line) error {
	cur := p.cur()
	set := cur.sec.set.known(ln.key)
	if set == nil {
		return p.unknown(ln.key + " { " + ln.key)
	}
	if !set.section() {
		return errors.New("Section not allowed here")
	}
	if err := p.allowed(set, ln.key); err != nil {
		return err
	}
	sec, err := p.enter(cur.sec, set, ln.value)
	if err != nil {
		return err
	}
	p.stack = append(p.stack, block{layer: cur.layer, sec: sec, start: p.pos})
	return nil
}

// enter finds or makes the section a section line opens. Sections of the same
// name are one section, except for passdb and userdb, which are kept apart.
func (p *parser) enter(parent *section, set *Setting, name string) (*section, error) {
	if set.Path == "service" && name == "dns_client" {
		p.old("service dns_client {} has been replaced by service dns-client { }")
		name = "dns-client"
	}
	num := -1
	switch {
	case set.Kind == KindStrMap:
		name = ""
	case name == "":
		num = parent.count(set)
	}
	if num < 0 {
		if sub := parent.sub(set, name); sub != nil {
			if set.ordered() {
				return nil, fmt.Errorf("%s/%s already exists", set.Path, name)
			}
			return sub, nil
		}
	}
	sub := newSection(set, name, num, p.pos)
	if set.ordered() && name != "" {
		sub.keys["name"] = value{text: name, pos: p.pos}
	}
	parent.subs = append(parent.subs, sub)
	return sub, nil
}

// unknown is the error of a key that the open section does not have.
func (p *parser) unknown(key string) error {
	chain := ""
	var last *Setting
	for _, b := range p.stack {
		if b.sec.set.Path != "" && b.sec.set != last {
			chain += filepath.Base(b.sec.set.Path) + " { "
			last = b.sec.set
		}
	}
	return fmt.Errorf("Unknown setting: %s%s", chain, key)
}

// allowed refuses settings of the auth process where the address of the client matters.
func (p *parser) allowed(set *Setting, key string) error {
	c := p.cur().layer.cond
	if (c.local.set() || c.remote.set()) && set.auth {
		return fmt.Errorf("Auth settings not supported inside local/remote blocks: %s", key)
	}
	return nil
}
