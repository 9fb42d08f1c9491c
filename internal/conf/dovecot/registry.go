package dovecot

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
)

// Register declares the settings of one module: proto is a struct whose fields
// carry tags (see the package documentation). It is called from package
// variables, so that linking a package is what makes its settings known.
func Register(module string, proto any) struct{} {
	registered = append(registered, registration{module, reflect.TypeOf(proto)})
	return struct{}{}
}

type registration struct {
	module string
	typ    reflect.Type
}

var registered []registration

// A plan says how to fill one struct type.
type plan struct {
	typ    reflect.Type
	fields []planField
}

type planField struct {
	index []int
	path  []string // of the setting below the struct's section
	set   *Setting
	kind  Kind  // of the field: how the text is read
	sub   *plan // of the elements of a list
}

var (
	sizeType     = reflect.TypeFor[Size]()
	modeType     = reflect.TypeFor[Mode]()
	portType     = reflect.TypeFor[Port]()
	durationType = reflect.TypeFor[time.Duration]()
)

// schema holds everything that is known about settings. It is built once, at
// the first use after all packages have registered theirs.
type schemaData struct {
	root          *Setting
	plans         map[reflect.Type]*plan
	discrepancies []string
}

var schema = sync.OnceValue(buildSchema)

func buildSchema() *schemaData {
	d := &schemaData{
		root:  &Setting{Kind: KindList, keys: map[string]*Setting{}},
		plans: map[reflect.Type]*plan{},
	}
	d.addCatalog()
	for _, r := range registered {
		d.plans[r.typ] = d.addStruct(d.root, r.module, r.typ)
	}
	d.root.arrange()
	return d
}

// arrange gives the setting and those below it the defaults of the flavor this
// program is built for, and puts them in order.
func (s *Setting) arrange() {
	if def, ok := flavor.Dovecot(s.Path); ok {
		s.Default = def
	}
	if s.Kind == KindStrMap {
		return // its keys are printed as they were set
	}
	for _, k := range s.keys {
		if k.alias == "" {
			s.list = append(s.list, k)
			k.arrange()
		}
	}
	slices.SortFunc(s.list, func(a, b *Setting) int {
		return cmp.Or(cmp.Compare(a.order, b.order), strings.Compare(a.Path, b.Path))
	})
}

// addStruct adds the fields of t to section and returns the plan to fill it.
func (d *schemaData) addStruct(section *Setting, module string, t reflect.Type) *plan {
	p := &plan{typ: t}
	for _, f := range reflect.VisibleFields(t) {
		path, ok := f.Tag.Lookup("set")
		if !ok {
			continue
		}
		pf := planField{index: f.Index, path: strings.Split(path, "/")}
		sec := section
		for _, name := range pf.path[:len(pf.path)-1] {
			sec = sec.keys[name]
		}
		set := d.fieldSetting(sec, module, pf.path[len(pf.path)-1], f)
		if set.Kind == KindList {
			pf.sub = d.addStruct(set, module, f.Type.Elem())
		}
		pf.set, pf.kind = set, fieldKind(f)
		p.fields = append(p.fields, pf)
	}
	return p
}

// fieldSetting merges what the tags of a field say with what the catalog knows
// of that setting, and notes where the two disagree.
func (d *schemaData) fieldSetting(sec *Setting, module, name string, f reflect.StructField) *Setting {
	s := sec.keys[name]
	kind := fieldKind(f)
	if s == nil {
		s = &Setting{Path: joinPath(sec.Path, name), Kind: kind, Enum: enumTag(f), Scope: AnyFilter, order: math.MaxInt}
		if kind == KindList || kind == KindStrMap {
			s.keys = map[string]*Setting{}
		}
		s.Default = zeroDefault(s)
		sec.keys[name] = s
		if dflt, ok := f.Tag.Lookup("default"); ok {
			s.Default = d.canonicalDefault(s, dflt)
		}
		s.Hidden = f.Tag.Get("hidden") == "yes"
	} else {
		d.compare(s, kind, f)
	}
	if doc := f.Tag.Get("doc"); doc != "" && s.Doc == "" {
		s.Doc = doc
	}
	s.File = s.File || f.Tag.Get("file") == "yes"
	if f.Tag.Get("check") == "only" {
		return s
	}
	s.Supported = true
	if !slices.Contains(s.Modules, module) {
		s.Modules = append(s.Modules, module)
	}
	return s
}

// compare notes where a field contradicts the setting known so far. The field
// may leave the kind of text, the default and the description to the catalog.
func (d *schemaData) compare(s *Setting, kind Kind, f reflect.StructField) {
	if kind != s.Kind && !(kind.anyText() && s.Kind.text()) {
		d.differ(s, "the field %s has another type", f.Name)
	}
	if enum := enumTag(f); enum != nil && !slices.Equal(slices.Sorted(slices.Values(enum)), slices.Sorted(slices.Values(s.Enum))) {
		d.differ(s, "the field %s has other words: %v, not %v", f.Name, enum, s.Enum)
	}
	if dflt, ok := f.Tag.Lookup("default"); ok {
		if c := d.canonicalDefault(s, dflt); c != d.canonicalDefault(s, s.Default) && !s.Unset {
			d.differ(s, "the field %s has default %q, not %q", f.Name, c, s.Default)
		}
	}
}

func (d *schemaData) differ(s *Setting, format string, args ...any) {
	d.discrepancies = append(d.discrepancies, s.Path+": "+fmt.Sprintf(format, args...))
}

func (d *schemaData) canonicalDefault(s *Setting, dflt string) string {
	c, err := s.canonical(dflt)
	if err != nil {
		d.differ(s, "bad default: %v", err)
	}
	return c
}

func fieldKind(f reflect.StructField) Kind {
	switch f.Type {
	case sizeType:
		return KindSize
	case modeType:
		return KindOctal
	case portType:
		return KindPort
	case durationType:
		if f.Tag.Get("unit") == "ms" {
			return KindMsecs
		}
		return KindTime
	}
	switch f.Type.Kind() {
	case reflect.Bool:
		return KindBool
	case reflect.Uint32, reflect.Uint64, reflect.Uint, reflect.Int, reflect.Int64:
		return KindUint
	case reflect.Map:
		return KindStrMap
	case reflect.Slice:
		return KindList
	case reflect.String:
		return textKind(f)
	}
	panic(fmt.Sprintf("dovecot: field %s has type %s, which no setting has", f.Name, f.Type))
}

func textKind(f reflect.StructField) Kind {
	switch {
	case f.Tag.Get("enum") != "":
		return KindEnum
	case f.Tag.Get("vars") == "yes":
		return KindVars
	case f.Tag.Get("path") == "yes":
		return KindPath
	}
	return KindString
}

func enumTag(f reflect.StructField) []string {
	if e := f.Tag.Get("enum"); e != "" {
		return strings.Split(e, "|")
	}
	return nil
}

// zeroDefault is the default of a setting that names none.
func zeroDefault(s *Setting) string {
	switch s.Kind {
	case KindBool:
		return "no"
	case KindOctal:
		return "00"
	case KindUint, KindTime, KindMsecs, KindSize, KindPort:
		return "0"
	case KindEnum:
		return s.Enum[0]
	}
	return ""
}

// Discrepancies lists where registered structs contradict each other or the
// catalog of Dovecot's settings. A test of the whole program wants it empty.
func Discrepancies() []string { return schema().discrepancies }
