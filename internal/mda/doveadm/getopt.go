package doveadm

import (
	"fmt"
	"strings"
)

// A usageError is a mistake on the command line, in the words of getopt(3).
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// A getopt reads a command line as getopt_long(3) does.
type getopt struct {
	program string // what messages begin with
	params  []param
	ordered bool // options end at the first argument
	short   bool // no option has a name
	rest    []string
	args    []string // what is no option
	take    func(p *param, value string) error
}

// run reads all options. take is called for each.
func (g *getopt) run() error {
	for len(g.rest) > 0 {
		arg := g.rest[0]
		if arg == "--" {
			g.rest = g.rest[1:]
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			if g.ordered {
				break
			}
			g.args = append(g.args, arg)
			g.rest = g.rest[1:]
			continue
		}
		g.rest = g.rest[1:]
		var err error
		if strings.HasPrefix(arg, "--") && !g.short {
			err = g.long(arg)
		} else {
			err = g.letters(arg[1:])
		}
		if err != nil {
			return err
		}
	}
	g.args = append(g.args, g.rest...)
	g.rest = nil
	return nil
}

// letters reads a group of single letters.
func (g *getopt) letters(group string) error {
	for group != "" {
		letter := group[0]
		group = group[1:]
		p := g.byLetter(letter)
		if p == nil {
			return g.errorf("invalid option -- '%c'", letter)
		}
		value := ""
		if p.kind != kindFlag {
			switch {
			case group != "":
				value, group = group, ""
			case len(g.rest) > 0:
				value, g.rest = g.rest[0], g.rest[1:]
			default:
				return g.errorf("option requires an argument -- '%c'", letter)
			}
		}
		if err := g.take(p, value); err != nil {
			return err
		}
	}
	return nil
}

// long reads an option by name, or by the beginning of one.
func (g *getopt) long(arg string) error {
	name, value, hasValue := strings.Cut(arg[2:], "=")
	found := g.byName(name)
	if len(found) == 0 {
		return g.errorf("unrecognized option '--%s'", name)
	}
	p := found[0]
	for _, other := range found[1:] {
		if other.letter != p.letter || (other.kind == kindFlag) != (p.kind == kindFlag) {
			return g.ambiguous(arg, found)
		}
	}
	switch {
	case p.kind == kindFlag && hasValue:
		return g.errorf("option '--%s' doesn't allow an argument", p.name)
	case p.kind != kindFlag && !hasValue:
		if len(g.rest) == 0 {
			return g.errorf("option '--%s' requires an argument", p.name)
		}
		value, g.rest = g.rest[0], g.rest[1:]
	}
	return g.take(p, value)
}

func (g *getopt) byLetter(letter byte) *param {
	for i := range g.params {
		if g.params[i].letter == letter && letter != 0 {
			return &g.params[i]
		}
	}
	return nil
}

// byName returns the parameter of that name, or those that begin so.
func (g *getopt) byName(name string) []*param {
	var found []*param
	for i := range g.params {
		p := &g.params[i]
		if p.name == name && name != "" {
			return []*param{p}
		}
		if p.name != "" && strings.HasPrefix(p.name, name) {
			found = append(found, p)
		}
	}
	return found
}

func (g *getopt) ambiguous(arg string, found []*param) error {
	var b strings.Builder
	for _, p := range found {
		fmt.Fprintf(&b, " '--%s'", p.name)
	}
	return g.errorf("option '%s' is ambiguous; possibilities:%s", arg, b.String())
}

func (g *getopt) errorf(format string, args ...any) error {
	return &usageError{g.program + ": " + fmt.Sprintf(format, args...)}
}
