package dovecot

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Var is one %variable: %u is Key 'u', %{user} is Name "user".
type Var struct {
	Key   byte   // 0 if it has only a long name
	Name  string // "" if it has only a key
	Value string
}

// Vars is what %variables expand to.
type Vars struct {
	Table []Var
	// Func, if not nil, gives the values of %{name:arg} (userdb:FIELD) and of
	// long names that Table does not have; arg is then empty.
	Func func(name, arg string) (value string, found bool, err error)
}

// maxVarDepth bounds the nesting of templates in %{if} and salt=.
const maxVarDepth = 10

// ExpandVars replaces the %variables of s. On an unknown variable the
// text holds UNSUPPORTED_VARIABLE_x and the error names it; the caller
// decides whether that matters.
func ExpandVars(s string, vars *Vars) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	e := varExpander{vars: vars}
	text := e.expand(s)
	return text, e.err
}

// CutVar returns the length of the %variable at the beginning of s, with its
// modifiers; s[0] is the '%'.
func CutVar(s string) int {
	var f varFormat
	rest := f.parse(s[1:])
	if rest == "" {
		return len(s)
	}
	n := len(s) - len(rest)
	if rest[0] == '{' {
		if end := closingBrace(rest); end > 0 {
			return n + end + 1
		}
	}
	_, size := utf8.DecodeRuneInString(rest)
	return n + size
}

// A varExpander expands one template. It goes on after an error, keeping the first.
type varExpander struct {
	vars   *Vars
	depth  int
	missed bool // the last variable is unknown
	err    error
}

func (e *varExpander) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf(format, args...)
	}
}

func (e *varExpander) expand(s string) string {
	if e.depth++; e.depth > maxVarDepth {
		e.fail("Too deeply nested variables")
		return ""
	}
	defer func() { e.depth-- }()
	var b []byte
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 || i == len(s)-1 {
			if i >= 0 {
				s = s[:i]
			}
			return string(append(b, s...))
		}
		b = append(b, s[:i]...)
		var f varFormat
		s = f.parse(s[i+1:])
		if s == "" {
			return string(b)
		}
		var val string
		e.missed = false
		if val, s = e.variable(s); e.missed {
			f = varFormat{}
		}
		b = f.append(b, val)
	}
}

// variable reads the key or {long name} at the beginning of s and returns its value.
func (e *varExpander) variable(s string) (val, rest string) {
	if s[0] == '{' {
		if n := closingBrace(s); n > 0 {
			return e.long(s[1:n]), s[n+1:]
		}
	}
	_, n := utf8.DecodeRuneInString(s)
	key := s[:n]
	if key == "%" {
		return "%", s[1:]
	}
	for i := range e.table() {
		if v := &e.vars.Table[i]; v.Key == s[0] {
			return v.Value, s[1:]
		}
	}
	return e.unknown(key), s[n:]
}

func (e *varExpander) table() []Var {
	if e.vars == nil {
		return nil
	}
	return e.vars.Table
}

func (e *varExpander) unknown(name string) string {
	e.missed = true
	e.fail("Unknown variable '%%%s'", name)
	return "UNSUPPORTED_VARIABLE_" + name
}

// closingBrace finds the brace that closes the one at s[0], 0 if there is none.
func closingBrace(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return 0
}

// long returns the value of %{expr}.
func (e *varExpander) long(expr string) string {
	if v, ok := e.byName(expr); ok {
		return v
	}
	head, _, _ := strings.Cut(expr, ":")
	name, options, _ := strings.Cut(head, ";")
	switch name {
	case "if":
		return e.condition(expr)
	case "encrypt", "decrypt":
		e.fail("%s: the var_expand_crypt plugin is not available", name)
		return ""
	case "env":
		return os.Getenv(strings.TrimPrefix(expr[len(name):], ":"))
	}
	if h, ok := hashes[name]; ok {
		return e.hash(h, options, expr[len(head):])
	}
	if val, ok := e.function(expr); ok {
		return val
	}
	if get := processVars[expr]; get != nil {
		return get()
	}
	name, _, _ = strings.Cut(expr, ":")
	return e.unknown(name)
}

// byName looks a variable up by long name, or by its key if the name is one character.
func (e *varExpander) byName(name string) (string, bool) {
	for i := range e.table() {
		v := &e.vars.Table[i]
		if v.Name == name && name != "" || len(name) == 1 && v.Key == name[0] {
			return v.Value, true
		}
	}
	return "", false
}

// key is the value of the variable that a hash or %{if} names.
func (e *varExpander) key(name string) string {
	if v, ok := e.byName(name); ok {
		return v
	}
	if v, ok := e.function(name); ok {
		return v
	}
	if get := processVars[name]; get != nil {
		return get()
	}
	return e.unknown(name)
}

func (e *varExpander) function(expr string) (string, bool) {
	if e.vars == nil || e.vars.Func == nil {
		return "", false
	}
	name, arg, _ := strings.Cut(expr, ":")
	val, ok, err := e.vars.Func(name, arg)
	if err != nil {
		e.fail("%s: %w", name, err)
		return "", true
	}
	return val, ok
}

// processVars are available everywhere, unless the table has the name.
var processVars = map[string]func() string{
	"pid": func() string { return strconv.Itoa(os.Getpid()) },
	"uid": func() string { return strconv.Itoa(os.Geteuid()) },
	"gid": func() string { return strconv.Itoa(os.Getegid()) },
	"hostname": func() string {
		name, err := os.Hostname()
		if err != nil {
			return "localhost"
		}
		name, _, _ = strings.Cut(name, ".")
		return name
	},
}
