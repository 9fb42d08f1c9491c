package postfix

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Register declares the parameters of one program: proto is a struct whose
// fields carry tags (see the package documentation). It is called from package
// variables, so that linking a package is what makes its parameters known.
func Register(program string, proto any) struct{} {
	registered = append(registered, registration{program, reflect.TypeOf(proto)})
	return struct{}{}
}

type registration struct {
	program string
	typ     reflect.Type
}

var registered []registration

// RegisterNames declares parameters of one program that it reads by name with
// [Main.Expand], not as fields of a struct.
func RegisterNames(program string, names ...string) struct{} {
	for _, name := range names {
		byName = append(byName, namedParam{program, name})
	}
	return struct{}{}
}

type namedParam struct{ program, name string }

var byName []namedParam

// A plan says how to fill one struct type.
type plan []planField

type planField struct {
	index []int
	param *Param
}

// schemaData says how the registered structs are filled. It is built once, at the
// first use after all packages have registered theirs, and marks their parameters in the
// catalog.
type schemaData struct {
	plans         map[reflect.Type]plan
	discrepancies []string
}

var schema = sync.OnceValue(func() *schemaData {
	d := &schemaData{plans: map[reflect.Type]plan{}}
	for _, r := range registered {
		d.plans[r.typ] = d.addStruct(r.program, r.typ)
	}
	for _, n := range byName {
		if p := Lookup(n.name); p != nil {
			p.supportedBy(n.program)
		} else {
			d.discrepancies = append(d.discrepancies, n.name+": the catalog does not have it")
		}
	}
	return d
})

func (d *schemaData) addStruct(program string, t reflect.Type) plan {
	var p plan
	for _, f := range reflect.VisibleFields(t) {
		name, ok := f.Tag.Lookup("set")
		if !ok {
			continue
		}
		param := d.fieldParam(program, name, f)
		if kind := fieldKind(f); kind != param.Kind && param.Kind != KindRaw {
			typed := *param // the field decides how the text is read
			typed.Kind = kind
			param = &typed
		}
		p = append(p, planField{index: f.Index, param: param})
	}
	return p
}

// fieldParam merges what the tags of a field say with what the catalog knows of
// that parameter, and notes where the two disagree.
func (d *schemaData) fieldParam(program, name string, f reflect.StructField) *Param {
	kind := fieldKind(f)
	p := Lookup(name)
	if p == nil {
		p = &Param{Name: name, Kind: kind, Limits: tagLimits(f)}
		p.setDefault(f.Tag.Get("default"))
		d.differ(p, "the catalog does not have it")
	} else {
		d.compare(p, kind, f)
	}
	if doc := f.Tag.Get("doc"); doc != "" && p.Doc == "" {
		p.Doc = doc
	}
	if p.Newer {
		d.differ(p, "newer than 3.7: give it the flag backported in the catalog")
	}
	if f.Tag.Get("check") != "only" {
		p.supportedBy(program)
	}
	return p
}

func (p *Param) supportedBy(program string) {
	p.Supported = true
	if !slices.Contains(p.Programs, program) {
		p.Programs = append(p.Programs, program)
	}
}

// compare notes where a field contradicts the parameter known so far. The
// field may leave default, limits and description to the catalog.
func (d *schemaData) compare(p *Param, kind Kind, f reflect.StructField) {
	sameNumber := (kind == KindInt || kind == KindSize) && (p.Kind == KindInt || p.Kind == KindSize)
	if kind != p.Kind && !sameNumber && !(kind == KindString && p.Kind == KindRaw) {
		d.differ(p, "the field %s has another type", f.Name)
	}
	if dflt, ok := f.Tag.Lookup("default"); ok && dflt != p.upstream && !p.Computed {
		d.differ(p, "the field %s has default %q, not %q", f.Name, dflt, p.upstream)
	}
	// As in Postfix, a lower limit of zero is none.
	l := tagLimits(f)
	if l.HasMin && l.Min != 0 && !(p.Limits.HasMin && p.Limits.Min == l.Min) || l.HasMax && !(p.Limits.HasMax && p.Limits.Max == l.Max) {
		d.differ(p, "the field %s has other limits", f.Name)
	}
}

func (d *schemaData) differ(p *Param, format string, args ...any) {
	d.discrepancies = append(d.discrepancies, p.Name+": "+fmt.Sprintf(format, args...))
}

func tagLimits(f reflect.StructField) Limits {
	var l Limits
	l.setMin(f.Tag.Get("min"))
	l.setMax(f.Tag.Get("max"))
	if f.Tag.Get("nonempty") == "yes" {
		l.Nonempty, l.MinLen = true, 1
	}
	return l
}

func fieldKind(f reflect.StructField) Kind {
	if f.Type == reflect.TypeFor[time.Duration]() {
		return KindTime
	}
	switch f.Type.Kind() {
	case reflect.Bool:
		return KindBool
	case reflect.Int, reflect.Int32, reflect.Uint32:
		return KindInt
	case reflect.Int64, reflect.Uint64:
		return KindSize
	case reflect.String:
		if f.Tag.Get("raw") == "yes" {
			return KindRaw
		}
		return KindString
	}
	panic(fmt.Sprintf("postfix: field %s has type %s, which no parameter has", f.Name, f.Type))
}

// Discrepancies lists where registered structs contradict each other or the
// catalog of Postfix's parameters. A test of the whole program wants it empty.
func Discrepancies() []string { return schema().discrepancies }
