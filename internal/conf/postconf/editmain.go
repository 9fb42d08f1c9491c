package postconf

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// A change is what an argument of -e, -X or -# asks for.
type change struct {
	name, value string
	found       int
}

// editMain carries out -e, -X or -# on main.cf.
func (c *command) editMain() error {
	changes, err := c.changes()
	if err != nil {
		return err
	}
	return c.edits("main.cf", func(e *editor) error { return c.rewriteMain(e, changes) })
}

// changes reads the arguments. Of two for a name the last counts.
func (c *command) changes() ([]*change, error) {
	var all []*change
	for _, arg := range c.args {
		n, err := c.change(arg)
		if err != nil {
			return nil, err
		}
		if old := findChange(all, n.name); old != nil {
			value := old.value
			if c.opts.mode&editConf == 0 {
				value = "(null)"
			}
			c.warn("ignoring earlier request: '%s = %s'", n.name, value)
			*old = *n
			continue
		}
		all = append(all, n)
	}
	return all, nil
}

func findChange(all []*change, name string) *change {
	for _, n := range all {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (c *command) change(arg string) (*change, error) {
	if strings.Contains(arg, "\n") {
		return nil, errors.New("-e, -X, or -# accepts no multi-line input")
	}
	text := strings.TrimLeft(arg, logline.Spaces)
	if strings.HasPrefix(text, "#") {
		return nil, errors.New("-e, -X, or -# accepts no comment input")
	}
	if c.opts.mode&editConf != 0 {
		name, value, err := postfix.SplitNameValue(text)
		if err != nil {
			return nil, fmt.Errorf("%w: \"%s\"", err, text)
		}
		return &change{name: name, value: value}, nil
	}
	switch {
	case text == "":
		return nil, errors.New("-X or -# requires non-blank parameter names")
	case strings.Contains(text, "="):
		return nil, errors.New("-X or -# requires parameter names without value")
	}
	return &change{name: strings.TrimRight(text, logline.Spaces)}, nil
}

// rewriteMain copies main.cf with the changes.
func (c *command) rewriteMain(e *editor, changes []*change) error {
	var current *change // the entry that the line belongs to, if it is changed
	for {
		line, err := e.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		first := !continues(line)
		if first {
			current = findChange(changes, line[:strings.IndexAny(line, blanks+"=")])
		}
		switch {
		case current == nil:
			e.copy(line)
		case c.opts.mode&commentOut != 0:
			e.copy("#" + line)
		case first && c.opts.mode&editConf != 0:
			e.copy(current.name + " = " + current.value + "\n")
		}
		if current != nil && first {
			if current.found++; current.found == 2 {
				c.warn("%s: multiple entries for \"%s\"", e.path, current.name)
			}
		}
	}
	for _, n := range changes {
		if n.found == 0 && c.opts.mode&editConf != 0 {
			e.copy(n.name + " = " + n.value + "\n")
		}
	}
	return nil
}
