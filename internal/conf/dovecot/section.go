package dovecot

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

func (p *parser) openFilter(ln line) error {
	if ln.key == "protocol" && ln.value == "managesieve" && len(p.stack) == p.filterDepth() {
		p.old("protocol managesieve {} has been replaced by protocol sieve { }")
		ln.value = "sieve"
	}
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
	sec := p.sameSection(l)
	b := block{layer: l, sec: sec, start: p.pos}
	if sec == nil {
		b.sec, b.missing = cur.sec, true
	}
	p.stack = append(p.stack, b)
	return nil
}

// sameSection finds, in layer l, the section that is open now: a filter inside
// a section filters what follows of that section, if it is a built-in one or the
// filter has it already.
func (p *parser) sameSection(l *layer) *section {
	sec := l.root
	for _, b := range p.stack {
		if b.sec.set == sec.set {
			continue
		}
		next := sec.sub(b.sec.set, b.sec.id())
		if next == nil && b.sec.num < 0 && b.sec.set.Kind == KindList {
			next = p.existing(sec, b.sec.set, b.sec.name)
		}
		if next == nil {
			return nil
		}
		sec = next
	}
	return sec
}

func (p *parser) openSection(ln line) error {
	if done, err := p.openOldAuth(ln); done || err != nil {
		return err
	}
	if p.cur().missing {
		return p.unknown(ln.key + " { " + ln.key)
	}
	if p.cur().sec.set.Kind == KindStrMap {
		return errors.New("Section not allowed here")
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
	if set.Path == "service" && name == "dns_client" && p.filterDepth() == len(p.stack) {
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
		if sub := parent.subFold(set, name); sub != nil {
			if set.ordered() {
				return nil, fmt.Errorf("%s/%s already exists", set.Path, name)
			}
			p.rename(sub, name)
			return sub, nil
		}
	}
	sub := newSection(set, name, num, p.pos)
	if set.ordered() && name != "" {
		sub.keys["name"] = value{text: name, pos: p.pos}
	}
	if set.Kind == KindList && num < 0 && !set.ordered() {
		if base := p.builtin(parent, set, name); base != nil {
			sub.name = base.name
			p.rename(sub, name)
		}
	}
	parent.subs = append(parent.subs, sub)
	return sub, nil
}

// rename gives a section the name by which it was opened last, which may have letters of other case.
func (p *parser) rename(s *section, name string) {
	if s.set.Kind != KindList {
		return
	}
	key := s.set.nameKey()
	if _, renamed := s.keys[key]; renamed || s.name != name {
		s.keys[key] = value{text: name, pos: p.pos, first: p.pos}
	}
	s.pos = p.pos
}

// filterDepth is how many of the open blocks, from the outside, are filters.
func (p *parser) filterDepth() int {
	for i, b := range p.stack {
		if b.sec.set.Path != "" {
			return i
		}
	}
	return len(p.stack)
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
	if (c.local.set() || c.remote.set() || c.localName != "") && set.auth {
		return fmt.Errorf("Auth settings not supported inside local/remote blocks: %s", key)
	}
	return nil
}
