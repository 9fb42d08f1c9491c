package postconf

import (
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// A class says where the name of a parameter comes from.
type class uint8

const (
	builtin    class = 1 << iota
	perService       // of a service of master.cf
	user
	allClasses = builtin | perService | user
)

type className struct {
	name  string
	class class
}

var classNames = []className{{"builtin", builtin}, {"service", perService}, {"user", user}, {"all", allClasses}}

// A param is one known name. Old names of built-in parameters are in no class until
// they are set.
type param struct {
	class    class
	builtin  *postfix.Param // nil if there is no such built-in parameter
	dflt     string         // otherwise
	raw      bool           // $name is not expanded
	readOnly bool           // set by the program
}

// paramTable holds what is not built in, or belongs to another class.
type paramTable map[string]*param

// param returns what is known under a name, or nil.
func (c *command) param(name string) *param {
	if p := c.params[name]; p != nil {
		return p
	}
	p := postfix.Lookup(name)
	if p == nil || !isBuiltin(p) {
		return nil
	}
	n := &param{class: builtin, builtin: p, raw: p.Kind == postfix.KindRaw, readOnly: p.ReadOnly}
	if p.Legacy {
		n.class = 0
	}
	return n
}

// isBuiltin reports whether Postfix has the parameter whatever is in master.cf.
func isBuiltin(p *postfix.Param) bool {
	return !p.Newer && !(p.Transport && strings.HasPrefix(p.Default, "$"))
}

// setClass changes the class of a known parameter.
func (c *command) setClass(name string, p *param, class class) {
	changed := *p
	changed.class = class
	c.params[name] = &changed
}

// serviceDefaults are the parameters that each service running a program has.
var serviceDefaults = map[string]func(suffix string) bool{
	"local": isTransport, "error": isTransport, "virtual": isTransport, "smtp": isTransport, "lmtp": isTransport,
	"pipe":  func(string) bool { return true },
	"spawn": isTimeLimit,
}

func isTimeLimit(suffix string) bool { return suffix == "_time_limit" }
func isTransport(suffix string) bool { return !isTimeLimit(suffix) }

// addServiceParams makes known the parameters that the services of master.cf have.
func (c *command) addServiceParams() {
	c.params = paramTable{}
	for _, s := range c.master {
		has := serviceDefaults[s.fields[fieldCommand]]
		if has == nil {
			continue
		}
		for _, t := range postfix.ServiceParams() {
			if !has(t.Suffix) {
				continue
			}
			name := s.fields[fieldService] + t.Suffix
			if p := c.param(name); p != nil {
				c.setClass(name, p, perService)
				continue
			}
			c.params[name] = &param{class: perService, dflt: "$" + t.Default}
		}
	}
}

// dflt is the default of a parameter.
func (c *command) dflt(name string, p *param) string {
	switch {
	case p.builtin == nil:
		return p.dflt
	case name == "process_name":
		return "postconf"
	}
	return c.main.Default(p.builtin)
}

// lookup is the value of a parameter for a service of master.cf (nil: in main.cf). If
// only is showDefaults it is the default, if showChanged there is no default.
func (c *command) lookup(name string, s *service, only mode) (string, bool) {
	if only&showDefaults == 0 {
		if s != nil {
			if v, ok := s.lookup(name); ok {
				return v, true
			}
		}
		if v, ok := c.values[name]; ok {
			return v, true
		}
		if only&showChanged != 0 {
			return "", false
		}
	}
	if p := c.param(name); p != nil {
		return c.dflt(name, p), true
	}
	return "", false
}

// expand replaces the $name in a value.
func (c *command) expand(value string, s *service) (string, error) {
	text, err := postfix.ExpandText(value, func(name string) (string, bool) {
		return c.lookup(name, s, c.opts.mode&showDefaults)
	})
	return text, postfix.WithFatal(err, "macro processing error")
}

// printParams shows the parameters that the arguments name, or all.
func (c *command) printParams() error {
	if len(c.args) > 0 {
		for _, name := range c.args {
			p := c.param(name)
			if p == nil {
				c.warn("%s: unknown parameter", name)
				continue
			}
			if err := c.printParam(name, p); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range c.allNames() {
		p := c.param(name)
		if p.class&c.opts.classes == 0 {
			continue
		}
		if err := c.printParam(name, p); err != nil {
			return err
		}
	}
	return nil
}

// allNames returns the names of the parameters to be shown, sorted.
func (c *command) allNames() []string {
	var names []string
	if c.opts.mode&showChanged != 0 {
		for _, name := range c.names {
			if _, ok := c.values[name]; ok && c.param(name) != nil {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	for name := range postfix.Names() {
		if isBuiltin(postfix.Lookup(name)) {
			names = append(names, name)
		}
	}
	for name, p := range c.params {
		if p.builtin == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *command) printParam(name string, p *param) error {
	value, ok := c.lookup(name, nil, c.opts.mode)
	if !ok {
		return nil
	}
	if c.opts.mode&expandValues != 0 && c.opts.mode&hideValues == 0 && !p.raw {
		var err error
		if value, err = c.expand(value, nil); err != nil {
			return err
		}
	}
	c.printSetting(name, value)
	return nil
}

// printSetting writes "name = value", or what -h and -H leave of it.
func (c *command) printSetting(name, value string) {
	switch {
	case c.opts.mode&hideValues != 0:
		c.printLine(name)
	case c.opts.mode&hideNames != 0:
		c.printLine(value)
	default:
		c.printLine(name + " = " + value)
	}
}

const (
	lineLimit = 80
	indent    = "    "
	blanks    = " \t\r\n"
)

// printLine writes a line with one blank between words, and with -f in lines of
// less than 80 bytes where that can be.
func (c *command) printLine(text string) {
	length := 0
	for {
		text = strings.TrimLeft(text, blanks)
		n := strings.IndexAny(text, blanks)
		if n < 0 {
			n = len(text)
		}
		if n == 0 {
			break
		}
		switch {
		case length == 0:
		case c.opts.mode&foldLines == 0 || length+n < lineLimit:
			c.put(" ")
			length++
		default:
			c.put("\n" + indent)
			length = len(indent)
		}
		c.put(text[:n])
		length += n
		text = text[n:]
	}
	c.put("\n")
}

// put writes to the output; its error is kept for Flush.
func (c *command) put(text string) { _, _ = c.stdout.WriteString(text) }
