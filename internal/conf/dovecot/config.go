package dovecot

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Config is a parsed configuration. It never changes and may be used by many
// goroutines.
type Config struct {
	path      string
	files     []string // positions refer to them
	layers    []*layer // the global one first, then filters in order of appearance
	overrides *section // wins over all layers; nil if there are none
	warnings  []string // Dovecot's own
	errors    []string // likewise, of what is ignored all the same
	noEffect  []string // settings that do nothing
}

// Filter says for whom settings are asked: the name of the service, the two
// addresses of the connection and the TLS server name. Zero fields match only
// settings outside such filters.
type Filter struct {
	Service       string
	Local, Remote netip.Addr
	LocalName     string
}

// Option changes how Load and Parse work.
type Option func(*options)

type options struct {
	literal, readFiles bool
	expandFiles        bool // read files at once, like doveconf -x
	modules            []string
}

// Literal keeps $other_setting words as they were written, as doveconf does
// without -x.
func Literal() Option { return func(o *options) { o.literal = true } }

// ReadFiles makes Load read the "<file" values at once, so that an unreadable
// one is an error of Load. Without it each is read by the Decode that wants it.
func ReadFiles() Option { return func(o *options) { o.readFiles = true } }

// ExpandFiles makes Load read the "<file" values while it parses, as doveconf -x
// does.
func ExpandFiles() Option { return func(o *options) { o.expandFiles = true } }

// Modules makes Load check, and read files of, only the settings of these modules of
// Dovecot; of all if there are none.
func Modules(names ...string) Option { return func(o *options) { o.modules = withParts(names) } }

// Load reads and checks the configuration file path and what it includes.
//
// A file that cannot be parsed gives an [*Error] and no Config. One that parses but
// fails the checks gives both, because doveconf prints it nevertheless. Before
// it serves anyone with the configuration, the master also calls
// [Config.Refused] and [Config.CheckUsers].
func Load(path string, opts ...Option) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open(%s) failed: %s", path, errnoText(err))
	}
	defer f.Close()
	return parse(path, func(p *parser) error { return p.parse(path, f) }, opts)
}

// Parse is Load for a text in memory; name stands for its path.
func Parse(name, text string, opts ...Option) (*Config, error) {
	return parse(name, func(p *parser) error { return p.parse(name, strings.NewReader(text)) }, opts)
}

func parse(path string, read func(*parser) error, opts []Option) (*Config, error) {
	var o options
	for _, set := range opts {
		set(&o)
	}
	c := &Config{path: path}
	p := newParser(c, o, builtin())
	if err := read(p); err != nil {
		return nil, err
	}
	if o.readFiles {
		if err := c.readFiles(); err != nil {
			return nil, err
		}
	}
	if err := p.finish(); err != nil {
		return c, err
	}
	if err := c.check(o.modules); err != nil {
		return c, err
	}
	c.warnNoEffect()
	return c, nil
}

// Path is the main file's name as it was given to Load.
func (c *Config) Path() string { return c.path }

// Warnings are the texts to be logged when the configuration is put to use:
// obsolete and ambiguous lines, settings that have no effect.
func (c *Config) Warnings() []string { return slices.Concat(c.warnings, c.errors, c.noEffect) }

// Diagnostics are the warnings, and the errors that change nothing, that doveconf
// prints: Warnings without what is peculiar to this program.
func (c *Config) Diagnostics() (warnings, errors []string) { return c.warnings, c.errors }

// Text is the value of a global setting as it is printed.
func (c *Config) Text(name string) string {
	if v, ok := c.view(Filter{}).value(name); ok {
		return v.shown()
	}
	return DefaultOf(name)
}

// Plugin is the global plugin section.
func (c *Config) Plugin() map[string]string {
	m := map[string]string{}
	for _, s := range slices.Backward(c.view(Filter{}).sub(schema().root.keys["plugin"], "")) {
		for key, v := range s.keys {
			m[key] = v.shown()
		}
	}
	return m
}

// DefaultOf is the default of a setting at the top level.
func DefaultOf(name string) string { return schema().root.keys[name].Default }

// where writes a position as F:L.
func (c *Config) where(p pos) string { return fmt.Sprintf("%s:%d", c.files[p.file], p.line) }

// whereWords writes a position as Dovecot's warnings do.
func (c *Config) whereWords(p pos) string { return fmt.Sprintf("%s line %d", c.files[p.file], p.line) }

// readFiles reads every "<file" value that something may ask for.
func (c *Config) readFiles() error {
	var walk func(*section) error
	walk = func(s *section) error {
		for key, v := range s.keys {
			if v.file == "" || v.read || !wantsFile(s, key) {
				continue
			}
			if err := c.readFile(key, &v); err != nil {
				return err
			}
			s.keys[key] = v
		}
		for _, sub := range s.subs {
			if err := walk(sub); err != nil {
				return err
			}
		}
		return nil
	}
	for _, l := range c.layers {
		if err := walk(l.root); err != nil {
			return err
		}
	}
	return nil
}

// wantsFile reports whether the program reads the setting at all; Dovecot too
// opens only the files of settings that are asked for.
func wantsFile(s *section, key string) bool {
	set := s.set.known(key)
	return set == nil || set.Supported
}

// maxFile bounds the file of a "<file" value.
const maxFile = 4 << 20

func (c *Config) readFile(key string, v *value) error {
	fail := func(what string, err error) error {
		return &Error{File: c.files[v.pos.file], Line: v.pos.line, Text: fmt.Sprintf("%s: %s: %s", key, what, errnoText(err))}
	}
	f, err := os.Open(v.file)
	if err != nil {
		return fail("Can't open file "+v.file, err)
	}
	defer f.Close()
	if v.content, err = readAll(f); err != nil {
		return fail("read("+v.file+") failed", err)
	}
	v.read = true
	return nil
}

func readAll(f *os.File) (string, error) {
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("File is too large")
	}
	return string(b), err
}

// Override returns c with "key=value" settings laid over everything else, as -o
// options and userdb fields are. Key may be a path such as "plugin/quota_rule".
// Unknown keys are ignored, as Dovecot does; see [Known].
func (c *Config) Override(settings ...string) (*Config, error) {
	n := *c
	if c.overrides == nil {
		n.overrides = newSection(schema().root, "", -1, pos{})
	} else {
		n.overrides = c.overrides.clone()
	}
	for _, s := range settings {
		key, val, ok := strings.Cut(s, "=")
		if !ok {
			return nil, errors.New("Missing '='")
		}
		if err := n.override(key, val); err != nil {
			return nil, err
		}
	}
	return &n, nil
}

func (c *Config) override(path, text string) error {
	sec := c.overrides
	view := c.view(Filter{})
	parts := strings.Split(path, "/")
	for len(parts) > 1 {
		list := sec.set.known(parts[0])
		if list == nil || !list.section() {
			return nil
		}
		name, rest := "", parts[1:]
		if list.Kind == KindList {
			name, rest = pathUnescape(parts[1]), parts[2:]
			if view = view.sub(list, name); len(view) == 0 || len(rest) == 0 {
				return nil
			}
		}
		sub := sec.sub(list, name)
		if sub == nil {
			sub = newSection(list, name, -1, pos{})
			sec.subs = append(sec.subs, sub)
		}
		sec, parts = sub, rest
	}
	set := sec.set.known(parts[0])
	if sec.set.Kind == KindStrMap {
		sec.keys[parts[0]] = value{text: text}
		return nil
	}
	if set == nil || set.section() {
		return nil
	}
	text, err := set.canonical(text)
	if err != nil {
		return err
	}
	sec.keys[set.Path[strings.LastIndexByte(set.Path, '/')+1:]] = value{text: text}
	return nil
}

// Known reports whether key, a path as for Override, is a setting that can be
// set. Every key of plugin and dict is.
func Known(key string) bool {
	set := schema().root
	parts := strings.Split(key, "/")
	for i := 0; i < len(parts); i++ {
		if set.Kind == KindStrMap {
			return i == len(parts)-1
		}
		if set = set.known(parts[i]); set == nil {
			return false
		}
		if set.Kind == KindList {
			i++ // the name of the section
		}
	}
	return !set.section()
}

// Without returns c with the named settings back at their defaults, for a
// child process that must not have them. A section name drops its sections.
func (c *Config) Without(names ...string) *Config {
	n := *c
	n.layers = make([]*layer, len(c.layers))
	for i, l := range c.layers {
		copied := *l
		copied.root = l.root.clone()
		copied.root.drop(names)
		n.layers[i] = &copied
	}
	if c.overrides != nil {
		n.overrides = c.overrides.clone()
		n.overrides.drop(names)
	}
	return &n
}

func (s *section) drop(names []string) {
	for _, name := range names {
		delete(s.keys, name)
		kept := s.subs[:0]
		for _, sub := range s.subs {
			if sub.set.Path != name {
				kept = append(kept, sub)
			}
		}
		s.subs = kept
	}
}
