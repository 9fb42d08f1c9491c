package ext

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Files are files that were read before, by path: those that only root may read,
// for a process that is not root. Others are read from disk.
type Files map[string][]byte

// Collect reads the file at path, and those that it includes, into f.
func (f Files) Collect(path string) error {
	r := newReader(func(string) {})
	r.open = func(path string) (io.ReadCloser, error) {
		content, err := readFile(path)
		if err != nil {
			return nil, err
		}
		f[path] = content
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	if err := r.push(path); err != nil {
		return openError(path, err)
	}
	defer r.close()
	for {
		// What is wrong with a line is told when the file is loaded.
		if _, err := r.next(); err != nil && (err == io.EOF || len(r.files) == 0) {
			return nil
		}
	}
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if errors.Is(err, syscall.EISDIR) { // which has no lines
		return nil, nil
	}
	return content, err
}

// open opens a file, from memory if it is there.
func (f Files) open(path string) (io.ReadCloser, error) {
	if content, ok := f[path]; ok {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	return os.Open(path)
}

func openError(path string, err error) error {
	return fmt.Errorf("Can't open configuration file %s: %s", path, errnoText(err))
}

// Load reads a file into the struct that v points to, whose fields say what
// settings there are (see the package documentation). Warn gets the texts of warnings.
//
// A file that cannot be opened gives an error with its path, a line that is
// wrong a [*dovecot.Error].
func Load(files Files, path string, v any, warn func(text string)) error {
	r := newReader(warn)
	r.open = files.open
	if err := r.push(path); err != nil {
		return openError(path, err)
	}
	return decode(r, v)
}

// A custom type takes settings that no tag can describe.
type custom interface {
	// set reports whether it knows the setting, and takes it.
	set(key, value string) (known bool, err error)
}

// A sectioned kind of file has sections.
type sectioned interface {
	// open returns what takes the settings of a section: a pointer to a struct
	// with tags, or a custom type. In is the kinds of the sections around it.
	open(in []string, kind, name string) (any, error)
	// end checks the innermost section, which ends.
	end(in []string) error
}

// A decoder fills a struct, and those of its sections.
type decoder struct {
	root    any
	targets []any    // of the open sections
	in      []string // their kinds
	skip    int      // sections open in one that is skipped
	changed string   // where a section began or ended last
}

func decode(r *reader, v any) error {
	defer r.close()
	setDefaults(v)
	d := &decoder{root: v, targets: []any{v}}
	var path string
	var num int
	for {
		ln, err := r.next()
		if err == io.EOF {
			return nil
		}
		if len(r.files) > 0 {
			path, num = r.where()
		}
		if err == nil {
			err = d.line(ln, path, num)
		}
		if err != nil {
			return &dovecot.Error{File: path, Line: num, Text: err.Error()}
		}
	}
}

func (d *decoder) line(ln line, path string, num int) error {
	if ln.kind == lineKey {
		if d.skip > 0 {
			return nil
		}
		return assign(d.targets[len(d.targets)-1], ln.key, ln.value)
	}
	changed := fmt.Sprintf(" (section changed in %s at line %d)", path, num)
	defer func() { d.changed = changed }()
	if ln.kind == lineEnd {
		return d.end()
	}
	s, ok := d.root.(sectioned)
	if !ok || d.skip > 0 {
		d.skip++
		return nil
	}
	target, err := s.open(d.in, ln.key, ln.value)
	if err != nil {
		return errors.New(err.Error() + d.changed)
	}
	d.targets = append(d.targets, target)
	d.in = append(d.in, ln.key)
	return nil
}

func (d *decoder) end() error {
	if d.skip > 0 {
		d.skip--
		return nil
	}
	if len(d.in) == 0 {
		return errors.New("Unexpected '}'")
	}
	err := d.root.(sectioned).end(d.in)
	d.in = d.in[:len(d.in)-1]
	d.targets = d.targets[:len(d.targets)-1]
	return err
}

// A plan says where the settings of one struct type are.
type plan struct {
	fields   map[string][]int
	defaults map[string]string
}

var plans sync.Map // of *plan by reflect.Type

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p := &plan{fields: map[string][]int{}, defaults: map[string]string{}}
	for _, f := range reflect.VisibleFields(t) {
		name, ok := f.Tag.Lookup("set")
		if !ok {
			continue
		}
		p.fields[name] = f.Index
		if text, ok := f.Tag.Lookup("default"); ok {
			p.defaults[name] = text
		}
	}
	plans.Store(t, p)
	return p
}

// setDefaults gives the settings of a struct their defaults.
func setDefaults(v any) {
	if reflect.TypeOf(v).Elem().Kind() != reflect.Struct {
		return
	}
	p := planOf(reflect.TypeOf(v).Elem())
	for name, text := range p.defaults {
		if err := setField(reflect.ValueOf(v).Elem().FieldByIndex(p.fields[name]), text); err != nil {
			panic(fmt.Sprintf("ext: default of %s: %v", name, err))
		}
	}
}

// assign sets one setting of what a section or the file as a whole fills.
func assign(target any, key, text string) error {
	if c, ok := target.(custom); ok {
		if known, err := c.set(key, text); known || err != nil {
			return err
		}
	}
	v := reflect.ValueOf(target).Elem()
	if v.Kind() == reflect.Struct {
		if index, ok := planOf(v.Type()).fields[key]; ok {
			return setField(v.FieldByIndex(index), text)
		}
	}
	return fmt.Errorf("Unknown setting: %s", key)
}

func setField(f reflect.Value, text string) error {
	switch f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Pointer:
		f.Set(reflect.ValueOf(&text))
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "yes", "no":
			f.SetBool(strings.EqualFold(text, "yes"))
		default:
			return fmt.Errorf("Invalid boolean: %s", text)
		}
	case reflect.Int:
		n, ok := parseInt(text)
		if !ok {
			return fmt.Errorf("Invalid number: %s", text)
		}
		f.SetInt(int64(n))
	default:
		panic(fmt.Sprintf("ext: no setting has type %s", f.Type()))
	}
	return nil
}

// parseInt reads the number a text begins with as scanf's %i does, up to
// 2147483647.
func parseInt(s string) (int, bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	s = strings.TrimPrefix(s, "+")
	base, digits := 10, "0123456789"
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") && strings.IndexByte("0123456789abcdefABCDEF", s[2]) >= 0:
		s, base, digits = s[2:], 16, "0123456789abcdefABCDEF"
	case strings.HasPrefix(s, "0"):
		base, digits = 8, "01234567"
	}
	n := 0
	for n < len(s) && strings.IndexByte(digits, s[n]) >= 0 {
		n++
	}
	v, err := strconv.ParseInt(s[:n], base, 32)
	return int(v), err == nil
}
