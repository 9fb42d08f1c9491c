package dovecot

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// The binary form is the version byte, then path, file names, warnings,
// settings without effect, layers and the overrides. A string is its length and its bytes, a list its
// length and its items; numbers are varints. A section names its setting by
// path. It is read only by the same binary that wrote it.
const binaryVersion = 1

// AppendBinary appends a form that UnmarshalBinary understands, the contents
// of "<file" values included, to hand the configuration to a child process.
func (c *Config) AppendBinary(b []byte) ([]byte, error) {
	w := &encoder{c: c, b: append(b, binaryVersion)}
	w.str(c.path)
	w.strs(c.files)
	w.strs(c.warnings)
	w.strs(c.noEffect)
	w.uint(len(c.layers))
	for _, l := range c.layers {
		w.cond(l.cond)
		w.pos(l.pos)
		w.section(l.root)
	}
	w.flag(c.overrides != nil)
	if c.overrides != nil {
		w.section(c.overrides)
	}
	return w.b, w.err
}

// MarshalBinary is AppendBinary for a new slice.
func (c *Config) MarshalBinary() ([]byte, error) { return c.AppendBinary(nil) }

// An encoder appends; it keeps the first error, that of reading a file.
type encoder struct {
	c   *Config
	b   []byte
	err error
}

func (w *encoder) uint(n int) { w.b = binary.AppendUvarint(w.b, uint64(n)) }

func (w *encoder) str(s string) {
	w.uint(len(s))
	w.b = append(w.b, s...)
}

func (w *encoder) strs(list []string) {
	w.uint(len(list))
	for _, s := range list {
		w.str(s)
	}
}

func (w *encoder) flag(set bool) { w.uint(rank(set)) }

func (w *encoder) pos(p pos) {
	w.uint(p.file)
	w.uint(p.line)
}

func (w *encoder) cond(c cond) {
	w.flag(c.hasService)
	w.str(c.service)
	w.str(c.localName)
	for _, n := range []network{c.local, c.remote} {
		w.str(n.text)
		w.uint(len(n.prefixes))
		for _, p := range n.prefixes {
			w.str(p.String())
		}
	}
}

func (w *encoder) section(s *section) {
	w.str(s.set.Path)
	w.str(s.name)
	w.uint(s.num + 1)
	w.pos(s.pos)
	keys := make([]string, 0, len(s.keys))
	for k := range s.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	w.uint(len(keys))
	for _, k := range keys {
		w.str(k)
		w.value(s, k, s.keys[k])
	}
	w.uint(len(s.subs))
	for _, sub := range s.subs {
		w.section(sub)
	}
}

func (w *encoder) value(s *section, key string, v value) {
	if v.file != "" && !v.read && wantsFile(s, key) {
		if err := w.c.readFile(key, &v); err != nil && w.err == nil {
			w.err = err
		}
	}
	w.str(v.text)
	w.pos(v.pos)
	w.str(v.file)
	w.flag(v.read)
	if v.read {
		w.str(v.content)
	}
}

var errBinary = errors.New("dovecot: damaged binary configuration")

// UnmarshalBinary sets c from what AppendBinary wrote. It must be called on a
// new Config.
func (c *Config) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != binaryVersion {
		return errBinary
	}
	r := &binaryReader{b: b[1:]}
	c.path = r.str()
	c.files = r.strs()
	c.warnings = r.strs()
	c.noEffect = r.strs()
	for range r.count() {
		l := &layer{cond: r.cond(), pos: r.pos()}
		l.root = r.section(0)
		c.layers = append(c.layers, l)
	}
	if r.uint() == 1 {
		c.overrides = r.section(0)
	}
	if r.failed || len(r.b) > 0 || len(c.layers) == 0 || !r.placed(c) {
		return errBinary
	}
	return nil
}

// A binaryReader reads; after damage everything is empty.
type binaryReader struct {
	b      []byte
	failed bool
	files  int // one more than the largest file index met
}

func (r *binaryReader) uint() int {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > 1<<40 {
		r.failed = true
		r.b = nil
		return 0
	}
	r.b = r.b[size:]
	return int(n)
}

// count reads the length of something of which each item takes a byte or more.
func (r *binaryReader) count() int {
	n := r.uint()
	if n > len(r.b) {
		r.failed = true
		return 0
	}
	return n
}

func (r *binaryReader) str() string {
	n := r.count()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *binaryReader) strs() []string {
	var list []string
	for range r.count() {
		list = append(list, r.str())
	}
	return list
}

func (r *binaryReader) pos() pos {
	p := pos{file: r.uint(), line: r.uint()}
	r.files = max(r.files, p.file+1)
	return p
}

// placed reports whether all positions name a file; values that were not
// configured have none.
func (r *binaryReader) placed(c *Config) bool { return r.files <= max(len(c.files), 1) }

func (r *binaryReader) cond() cond {
	c := cond{hasService: r.uint() == 1, service: r.str(), localName: r.str()}
	for _, n := range []*network{&c.local, &c.remote} {
		n.text = r.str()
		for range r.count() {
			p, err := netip.ParsePrefix(r.str())
			r.failed = r.failed || err != nil
			n.prefixes = append(n.prefixes, p)
		}
	}
	return c
}

// maxSectionDepth is how deep sections nest: service { unix_listener { } }.
const maxSectionDepth = 3

func (r *binaryReader) section(depth int) *section {
	s := newSection(settingAt(r.str()), r.str(), r.uint()-1, r.pos())
	if s.set == nil || depth > maxSectionDepth {
		r.failed = true
		r.b = nil
		s.set = schema().root
		return s
	}
	for range r.count() {
		key := r.str()
		v := value{text: r.str(), pos: r.pos(), file: r.str()}
		if v.read = r.uint() == 1; v.read {
			v.content = r.str()
		}
		s.keys[key] = v
	}
	for range r.count() {
		s.subs = append(s.subs, r.section(depth+1))
	}
	return s
}

// settingAt finds a section's setting by path; nil if there is none.
func settingAt(path string) *Setting {
	set := schema().root
	if path == "" {
		return set
	}
	for name := range strings.SplitSeq(path, "/") {
		if set = set.keys[name]; set == nil || !set.section() {
			return nil
		}
	}
	return set
}
