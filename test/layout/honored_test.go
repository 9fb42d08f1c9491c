package layout

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// readOtherwise are fields of registered structs that no daemon or tool reads by name, and how
// their settings are honored all the same.
var readOtherwise = map[string]string{
	"internal/conf/dovecot.Master.DefaultClientLimit":   "dovecot.Services puts it into client_limit",
	"internal/conf/dovecot.Master.DefaultInternalGroup": "dovecot.Services puts it where $default_internal_group stands",
	"internal/conf/dovecot.Master.DefaultLoginUser":     "dovecot.Services puts it where $default_login_user stands",
	"internal/conf/dovecot.Master.DefaultProcessLimit":  "dovecot.Services puts it into process_limit",
	"internal/conf/dovecot.ServiceList.Services":        "what dovecot.Services returns",
	"internal/conf/postfix.Core.CompatibilityLevel":     "defaults of other parameters and Main.Level expand it",
	"internal/conf/postfix.Core.MynetworksStyle":        "the default of mynetworks comes from it",
	"internal/conf/postfix.CipherLists":                 "CipherLists.Grade returns the one of a grade",
	"internal/mta/smtpd.Settings.RejectTempfailAction":  "defaults of the other *_tempfail_action expand it",
	"internal/mta/deliver/smtp.lmtpSettings":            "converted to Settings as a whole",
}

// A struct field passed to Register promises that its setting is honored. The least that
// takes is that code of a daemon or tool reads the field: what package conf does is parse
// and check.
func TestRegisteredSettingsAreRead(t *testing.T) {
	tree := typeCheck(t)
	read := tree.fieldsRead()
	excused := map[string]bool{}
	for _, s := range tree.registered(t) {
		name := strings.TrimPrefix(s.pkg, module+"/") + "." + s.name
		for i := range s.fields.NumFields() {
			f := s.fields.Field(i)
			tag := reflect.StructTag(s.fields.Tag(i))
			set, ok := tag.Lookup("set")
			if !ok || tag.Get("check") == "only" || read[f] {
				continue
			}
			excuse := name + "." + f.Name()
			if readOtherwise[name] != "" {
				excuse = name
			}
			if excused[excuse] = true; readOtherwise[excuse] == "" {
				t.Errorf("%s.%s: nothing reads it, so the setting %s is not supported: honor it, or do not register it",
					name, f.Name(), set)
			}
		}
	}
	for name := range readOtherwise {
		if !excused[name] {
			t.Errorf("%s: needs no excuse any more", name)
		}
	}
}

// A source is the packages of this module with their types.
type source struct {
	fset  *token.FileSet
	files []*ast.File
	pkgs  map[string]*types.Package
	info  types.Info
	std   types.Importer
}

// Import makes source the importer of its own packages.
func (s *source) Import(path string) (*types.Package, error) {
	if p := s.pkgs[path]; p != nil {
		return p, nil
	}
	return s.std.Import(path)
}

// typeCheck reads the source of all packages of this module, without tests.
func typeCheck(t *testing.T) *source {
	t.Helper()
	out := goList(t, "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export")
	exports := map[string]string{}
	s := &source{fset: token.NewFileSet(), pkgs: map[string]*types.Package{}, info: types.Info{
		Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}}
	s.std = importer.ForCompiler(s.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p struct {
			pkg
			Export string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, module+"/") { // after those that it imports
			s.check(t, p.pkg)
		}
	}
	return s
}

func (s *source) check(t *testing.T, p pkg) {
	t.Helper()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(s.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	conf := types.Config{Importer: s}
	checked, err := conf.Check(p.ImportPath, s.fset, files, &s.info)
	if err != nil {
		t.Fatal(err)
	}
	s.pkgs[p.ImportPath] = checked
	s.files = append(s.files, files...)
}

// fieldsRead are the struct fields that an expression outside of package conf selects, other
// than to assign to them.
func (s *source) fieldsRead() map[*types.Var]bool {
	read := map[*types.Var]bool{}
	for _, f := range s.files {
		if strings.Contains(s.fset.Position(f.Package).Filename, "/internal/conf/") {
			continue
		}
		assigned := map[*ast.SelectorExpr]bool{}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, l := range n.Lhs {
					if sel, ok := l.(*ast.SelectorExpr); ok {
						assigned[sel] = true
					}
				}
			case *ast.SelectorExpr:
				if v, ok := s.info.Uses[n.Sel].(*types.Var); ok && v.IsField() && !assigned[n] {
					read[v] = true
				}
			}
			return true
		})
	}
	return read
}

// A settings is a struct type that declares settings.
type settings struct {
	pkg, name string
	fields    *types.Struct
}

// registered are the structs passed to Register, and those of the sections inside them.
func (s *source) registered(t *testing.T) []settings {
	t.Helper()
	var all []settings
	var add func(types.Type)
	add = func(typ types.Type) {
		named, ok := typ.(*types.Named)
		if !ok {
			return
		}
		fields, ok := named.Underlying().(*types.Struct)
		d := settings{named.Obj().Pkg().Path(), named.Obj().Name(), fields}
		if !ok || slices.Contains(all, d) {
			return
		}
		all = append(all, d)
		for f := range fields.Fields() {
			if list, ok := f.Type().(*types.Slice); ok {
				add(list.Elem())
			}
		}
	}
	for _, f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && s.isRegister(call.Fun) {
				add(s.info.Types[call.Args[1]].Type)
			}
			return true
		})
	}
	if len(all) < 10 {
		t.Fatalf("found only %d structs of settings", len(all))
	}
	return all
}

// isRegister reports whether fn is the Register of one of the two registries.
func (s *source) isRegister(fn ast.Expr) bool {
	id, ok := fn.(*ast.Ident)
	if sel, isSel := fn.(*ast.SelectorExpr); isSel {
		id, ok = sel.Sel, true
	}
	if !ok || id.Name != "Register" {
		return false
	}
	obj, ok := s.info.Uses[id].(*types.Func)
	return ok && slices.Contains([]string{module + "/internal/conf/dovecot", module + "/internal/conf/postfix"}, obj.Pkg().Path())
}
