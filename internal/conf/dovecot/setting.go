package dovecot

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// Setting describes one setting, whether or not anything uses it.
type Setting struct {
	Path      string // "mail_fsync", "service/unix_listener/mode", "plugin/quota_vsizes"
	Kind      Kind
	Enum      []string
	Default   string // as doveconf prints it
	Unset     bool   // there is no default: unset differs from empty
	Hidden    bool   // printed by doveconf only with -s or by name
	File      bool   // the program using it wants the contents of <file
	Supported bool   // a registered struct has it
	Scope     Scope
	Modules   []string
	Doc       string

	order  int        // of the rows of the catalog
	roots  []string   // modules of Dovecot that read it
	common bool       // printed for every module
	only   string     // the one flavor that prints it; empty for all
	list   []*Setting // keys in their order, without aliases

	auth  bool                // read by the auth process, which serves all addresses alike
	alias string              // the name in the same section that it stands for
	keys  map[string]*Setting // of the sections of a list or map
}

// AnyFilter is the scope of a setting that every filter may change.
const AnyFilter = ScopeProtocol | ScopeLocal | ScopeRemote | ScopeLocalName

// text reports whether any text is a value of the kind.
func (k Kind) text() bool {
	switch k {
	case KindString, KindVars, KindPath, KindEnum:
		return true
	}
	return false
}

// anyText reports whether every text is a value of the kind.
func (k Kind) anyText() bool { return k.text() && k != KindEnum }

// section reports whether the setting is a section.
func (s *Setting) section() bool { return s.Kind == KindList || s.Kind == KindStrMap }

// ordered reports whether the sections of a list are kept apart and in order;
// those of other lists are merged by name.
func (s *Setting) ordered() bool { return s.Path == "passdb" || s.Path == "userdb" }

// nameKey is the key that holds a section's name.
func (s *Setting) nameKey() string {
	switch s.Path {
	case "service/unix_listener", "service/fifo_listener":
		return "path"
	case "metric":
		return "metric_name"
	}
	return "name"
}

// known looks up a key of the section, following aliases.
func (s *Setting) known(key string) *Setting {
	if k := s.keys[key]; k != nil && k.alias != "" {
		return s.keys[k.alias]
	}
	return s.keys[key]
}

// knownFold is known for the name of a section in a path, where the case of letters does not matter.
func (s *Setting) knownFold(key string) *Setting {
	if k := s.known(key); k != nil {
		return k
	}
	for _, k := range s.list {
		if k.section() && strings.EqualFold(k.Path[strings.LastIndexByte(k.Path, '/')+1:], key) {
			return k
		}
	}
	return nil
}

func joinPath(section, name string) string {
	if section == "" {
		return name
	}
	return section + "/" + name
}

//go:embed catalog.tsv
var catalog string

var catalogKinds = map[string]Kind{
	"str": KindString, "vars": KindVars, "path": KindPath, "bool": KindBool, "uint": KindUint,
	"octal": KindOctal, "time": KindTime, "msecs": KindMsecs, "size": KindSize, "port": KindPort,
	"enum": KindEnum, "map": KindStrMap, "list": KindList,
}

var catalogScopes = map[rune]Scope{'P': ScopeProtocol, 'L': ScopeLocal, 'R': ScopeRemote, 'N': ScopeLocalName, '-': 0}

// addCatalog reads the embedded table. Sections come before their keys there.
func (d *schemaData) addCatalog() {
	order := 0
	for row := range strings.Lines(catalog) {
		if row[0] == '#' {
			continue
		}
		col := strings.SplitN(strings.TrimSuffix(row, "\n"), "\t", 7)
		kind, arg, _ := strings.Cut(col[2], ":")
		s := &Setting{Path: col[0], Kind: catalogKinds[kind], Default: col[3], Doc: col[6]}
		if kind == "alias" {
			s.alias = arg
		} else if arg != "" {
			s.Enum = strings.Split(arg, "|")
		}
		for _, c := range col[1] {
			s.Scope |= catalogScopes[c]
		}
		s.Unset = strings.Contains(col[4], "unset")
		s.Hidden = strings.Contains(col[4], "hidden")
		s.common = strings.Contains(col[4], "common")
		if strings.Contains(col[4], "debian") {
			s.only = "debian"
		}
		s.Modules = strings.Split(col[5], ",")
		s.roots = slices.Clone(s.Modules)
		s.auth = slices.Contains(s.Modules, "auth")
		s.order = order
		order++
		if s.section() {
			s.keys = map[string]*Setting{}
		}
		sec, name := d.root, s.Path
		for {
			first, rest, more := strings.Cut(name, "/")
			if !more {
				break
			}
			sec, name = sec.keys[first], rest
		}
		sec.keys[name] = s
	}
}

// pluginFamilies are the plugin settings of which there may be many, by their
// names without numbers: [N], [M] and N stand for one in the catalog.
var pluginFamilies = sync.OnceValue(func() map[string]*Setting {
	unnumber := strings.NewReplacer("[N]", "", "[M]", "", "mailboxN", "mailbox", "valueN", "value")
	families := map[string]*Setting{}
	for name, s := range schema().root.keys["plugin"].keys {
		if plain := unnumber.Replace(name); plain != name {
			families[withoutDigits(plain)] = s
		}
	}
	return families
})

// Settings returns every known setting, sorted by path. They must not be changed.
func Settings() []*Setting {
	var all []*Setting
	var walk func(s *Setting)
	walk = func(s *Setting) {
		for _, k := range s.keys {
			if k.alias == "" {
				all = append(all, k)
				walk(k)
			}
		}
	}
	walk(schema().root)
	slices.SortFunc(all, func(a, b *Setting) int { return strings.Compare(a.Path, b.Path) })
	return all
}
