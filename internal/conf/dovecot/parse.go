package dovecot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	maxConfig   = 64 << 20 // bytes of names and values kept
	maxIncludes = 100      // nesting of include files
	maxWarnings = 1000
)

// A parser fills a Config. Sections may begin in one file and end in another,
// so its stack outlives the files.
type parser struct {
	cfg      *Config
	literal  bool
	stack    []block
	includes []string // files being read
	pos      pos
	size     int
	base     *section // what the built-in services set; empty while they are read
	obsolete bool     // the note about obsolete settings was given
}

// A block is an open section or filter.
type block struct {
	layer   *layer
	sec     *section
	start   pos
	oldAuth bool // the auth { } of Dovecot 1
}

func newParser(c *Config, o options, base *section) *parser {
	c.layers = []*layer{{root: newSection(schema().root, "", -1, pos{})}}
	return &parser{cfg: c, literal: o.literal, base: base, stack: []block{{layer: c.layers[0], sec: c.layers[0].root}}}
}

func (p *parser) cur() *block { return &p.stack[len(p.stack)-1] }

func (p *parser) file() string { return p.includes[len(p.includes)-1] }

func (p *parser) warn(text string) {
	if len(p.cfg.warnings) < maxWarnings {
		p.cfg.warnings = append(p.cfg.warnings, text)
	}
}

// parse reads one file and what it includes.
func (p *parser) parse(name string, r io.Reader) error {
	p.includes = append(p.includes, name)
	defer func() { p.includes = p.includes[:len(p.includes)-1] }()
	file := slices.Index(p.cfg.files, name)
	if file < 0 {
		file = len(p.cfg.files)
		p.cfg.files = append(p.cfg.files, name)
	}
	lex := &lexer{r: bufio.NewReader(r), warn: func(text string, num int) {
		p.warn(fmt.Sprintf("Configuration file %s line %d: %s", name, num, text))
	}}
	for {
		ln, err := lex.next()
		if err == io.EOF || errors.Is(err, syscall.EISDIR) {
			return nil
		}
		p.pos = pos{file, ln.num}
		if err == nil {
			err = p.line(ln)
		}
		if err != nil {
			return p.locate(err)
		}
	}
}

// locate gives an error the position it arose at, unless it has one.
func (p *parser) locate(err error) error {
	var located *Error
	if errors.As(err, &located) {
		return err
	}
	return &Error{File: p.cfg.files[p.pos.file], Line: p.pos.line, Text: err.Error(), Warnings: p.cfg.warnings}
}

// finish is called at the end of all input.
func (p *parser) finish() error {
	if len(p.stack) == 1 {
		return nil
	}
	return &Error{File: p.cfg.path, Text: fmt.Sprintf("Missing '}' (section started at %s)", p.cfg.where(p.cur().start))}
}

func (p *parser) line(ln line) error {
	p.size += len(ln.key) + len(ln.value)
	if p.size > maxConfig {
		return errors.New("Configuration is too large")
	}
	switch ln.kind {
	case lineInclude, lineIncludeTry:
		return p.include(ln)
	case lineEnd:
		if len(p.stack) == 1 {
			return errors.New("Unexpected '}'")
		}
		p.stack = p.stack[:len(p.stack)-1]
		return nil
	case lineSection:
		if isFilter(ln.key) {
			return p.openFilter(ln)
		}
		return p.openSection(ln)
	}
	return p.assignment(ln)
}

// include reads the files of an !include line at once, so that what they set
// comes before the lines that follow.
func (p *parser) include(ln line) error {
	try := ln.kind == lineIncludeTry
	paths := glob(p.relative(ln.value))
	if len(paths) == 0 && !try {
		return errors.New("No matches")
	}
	at := p.pos
	for _, path := range paths {
		p.pos = at
		if slices.Contains(p.includes, path) || len(p.includes) >= maxIncludes {
			return fmt.Errorf("Recursive include file: %s", path)
		}
		f, err := os.Open(path)
		if err != nil {
			if try {
				continue
			}
			return fmt.Errorf("Couldn't open include file %s: %s", path, errnoText(err))
		}
		err = p.parse(path, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// relative resolves a path in the directory of the file being read.
func (p *parser) relative(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	dir, _ := filepath.Split(p.file())
	return dir + path
}

// errnoText is the system's text of an error as C programs print it.
func errnoText(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	s := no.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

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
