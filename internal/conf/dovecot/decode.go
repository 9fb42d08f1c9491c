package dovecot

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// matching returns the layers whose conditions f meets, the most specific first and the
// global one last.
func (c *Config) matching(f Filter) []*layer {
	if len(c.layers) == 1 {
		return c.layers
	}
	var out []*layer
	for _, l := range c.layers[1:] {
		if l.cond.match(f) {
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b *layer) int { return compareCond(a.cond, b.cond) })
	return append(out, c.layers[0])
}

// Varies tells by what, besides its name, the settings of a service may differ from
// session to session. If it is 0, one Decode is good for all sessions.
func (c *Config) Varies(service string) Scope {
	var s Scope
	for _, l := range c.layers[1:] {
		if (cond{service: l.cond.service, hasService: l.cond.hasService}).match(Filter{Service: service}) {
			s |= l.cond.scope() &^ ScopeProtocol
		}
	}
	return s
}

// view returns the top level sections that apply to f, built-in services last.
func (c *Config) view(f Filter) view { return c.stackView(c.matching(f)) }

func (c *Config) stackView(layers []*layer) view {
	v := make(view, 0, len(layers)+2)
	if c.overrides != nil {
		v = append(v, c.overrides)
	}
	for _, l := range layers {
		v = append(v, l.root)
	}
	return append(v, builtin())
}

// A decoder fills one struct.
type decoder struct {
	c      *Config
	layers []*layer
}

// Decode fills dst, a pointer to a registered struct, with the settings that
// apply to f. It fails where two filters that both match f set the same key and
// neither is clearly the more specific one, and where a "<file" cannot be read.
func (c *Config) Decode(f Filter, dst any) error {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("dovecot: cannot decode into %T", dst)
	}
	p := schema().plans[v.Type().Elem()]
	if p == nil {
		return fmt.Errorf("dovecot: type %s is not registered", v.Type().Elem())
	}
	d := decoder{c: c, layers: c.matching(f)}
	return d.fill(p, c.stackView(d.layers), v.Elem())
}

// Get decodes the registered struct type T for f.
func Get[T any](c *Config, f Filter) (*T, error) {
	v := new(T)
	if err := c.Decode(f, v); err != nil {
		return nil, err
	}
	return v, nil
}

func (d *decoder) fill(p *plan, sections view, dst reflect.Value) error {
	for i := range p.fields {
		pf := &p.fields[i]
		if err := d.field(pf, sections, dst.FieldByIndex(pf.index)); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) field(pf *planField, sections view, dst reflect.Value) error {
	for _, name := range pf.path[:len(pf.path)-1] {
		sections = sections.sub(schema().root.keys[name], "")
	}
	switch pf.kind {
	case KindStrMap:
		return d.fillMap(sections.sub(pf.set, ""), dst)
	case KindList:
		return d.fillList(pf, sections, dst)
	}
	key := pf.path[len(pf.path)-1]
	if err := d.conflict(key, sections); err != nil {
		return err
	}
	v, ok := sections.value(key)
	if !ok {
		v.text = d.defaultFor(pf.set, key, sections)
	}
	if v.file != "" {
		if !v.read {
			if err := d.c.readFile(key, &v); err != nil {
				return err
			}
		}
		v.text = v.content
	}
	if err := setField(dst, v.text, pf.kind); err != nil {
		// Only a setting whose text was not checked when it was parsed, inside
		// plugin { } or from a file, can be wrong here.
		return fmt.Errorf("%s: %w", pf.set.Path, err)
	}
	return nil
}

// defaultFor is the value of a key that is not set: the name of a section is
// taken from its header.
func (d *decoder) defaultFor(set *Setting, key string, sections view) string {
	if len(sections) > 0 {
		s := sections[0]
		if s.set.Kind == KindList && s.set.Path != "" && key == s.set.nameKey() && s.num < 0 {
			return s.name
		}
	}
	return set.Default
}

// conflict reports a key that two filters set, where the order of the two says
// nothing about which is meant. Like Dovecot it compares a filter only with the next more
// specific one that matches, and only by the kinds of conditions they have:
// both match, so the conditions overlap.
func (d *decoder) conflict(key string, sections view) error {
	if len(d.layers) <= 2 {
		return nil
	}
	seen := false
	for _, s := range sections {
		if !s.sets(key) {
			continue
		}
		i := d.layerOf(s)
		if i < 0 {
			continue
		}
		if seen && !d.layers[i].cond.wider(d.layers[i-1].cond) {
			return d.c.wrong(fmt.Errorf("Conflict in setting %s found from filter at %s", key, d.c.where(d.layers[i].pos)))
		}
		seen = true
	}
	return nil
}

// sets reports whether the section has the key, as a named one has its name.
func (s *section) sets(key string) bool {
	_, ok := s.keys[key]
	return ok || s.num < 0 && s.set.Kind == KindList && s.set.Path != "" && key == s.set.nameKey()
}

// layerOf finds the filter that a section belongs to, -1 for none.
func (d *decoder) layerOf(s *section) int {
	return slices.IndexFunc(d.layers[:len(d.layers)-1], func(l *layer) bool { return l.root.contains(s) })
}

func (s *section) contains(o *section) bool {
	return s == o || slices.ContainsFunc(s.subs, func(sub *section) bool { return sub.contains(o) })
}

func (d *decoder) fillMap(sections view, dst reflect.Value) error {
	m := map[string]string{}
	for _, s := range slices.Backward(sections) {
		for k, v := range s.keys {
			if v.file != "" && !v.read {
				if err := d.c.readFile(k, &v); err != nil {
					return err
				}
			}
			if v.file != "" {
				v.text = v.content
			}
			m[k] = v.text
		}
	}
	dst.Set(reflect.ValueOf(m))
	return nil
}

func (d *decoder) fillList(pf *planField, sections view, dst reflect.Value) error {
	subs := sections.subs(pf.set)
	list := reflect.MakeSlice(dst.Type(), len(subs), len(subs))
	for i, sub := range subs {
		if err := d.fill(pf.sub, sub, list.Index(i)); err != nil {
			return err
		}
	}
	dst.Set(list)
	return nil
}

func setField(dst reflect.Value, text string, kind Kind) error {
	switch kind {
	case KindBool:
		b, err := parseBool(text)
		dst.SetBool(b)
		return err
	case KindUint:
		n, err := parseUint(text)
		setUint(dst, uint64(n))
		return err
	case KindOctal:
		m, err := parseMode(text)
		dst.SetUint(uint64(m))
		return err
	case KindSize:
		n, err := parseSize(text)
		dst.SetUint(uint64(n))
		return err
	case KindPort:
		n, err := parsePort(text)
		dst.SetUint(uint64(n))
		return err
	case KindTime:
		d, err := parseTime(text)
		dst.SetInt(int64(d))
		return err
	case KindMsecs:
		d, err := parseMsecs(text)
		dst.SetInt(int64(d))
		return err
	}
	dst.SetString(text)
	return nil
}

func setUint(dst reflect.Value, n uint64) {
	if dst.CanInt() {
		dst.SetInt(int64(n))
	} else {
		dst.SetUint(n)
	}
}

// Origin tells where the value of a setting that applies to f was set, as
// "file:line", or "" when it has its default. Key is a setting name or a path such as
// "service/imap-login/inet_listener/imap/port" or "passdb/0/args".
func (c *Config) Origin(f Filter, key string) string {
	v := c.view(f)
	parts := strings.Split(key, "/")
	set := schema().root
	for len(parts) > 1 {
		if set = set.known(parts[0]); set == nil {
			return ""
		}
		switch {
		case set.Kind == KindStrMap:
			v, parts = v.sub(set, ""), parts[1:]
		case set.ordered():
			i, err := strconv.Atoi(parts[1])
			all := v.subs(set)
			if err != nil || i < 0 || i >= len(all) {
				return ""
			}
			v, parts = all[i], parts[2:]
		default:
			v, parts = v.sub(set, pathUnescape(parts[1])), parts[2:]
		}
	}
	val, ok := value{}, false
	if len(parts) == 1 {
		val, ok = v.value(parts[0])
	}
	if !ok || val.pos.line == 0 {
		return ""
	}
	return c.where(val.pos)
}
