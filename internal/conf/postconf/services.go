package postconf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A pattern is an argument name/type/rest of -M, -F and -P, where "*" matches anything.
type pattern struct {
	text    string
	parts   []string
	matches int
}

const wildcard = "*"

// parsePattern splits an argument into at least low and at most high parts; missing
// ones are "*". A "*" in a longer part is an error.
func parsePattern(text string, low, high int) (*pattern, bool) {
	p := &pattern{text: text, parts: strings.FieldsFunc(text, func(r rune) bool { return r == '/' })}
	if strings.HasPrefix(text, "/") || len(p.parts) < low || len(p.parts) > high {
		return nil, false
	}
	for _, part := range p.parts {
		if part != wildcard && strings.Contains(part, wildcard) {
			return nil, false
		}
	}
	for len(p.parts) < high {
		p.parts = append(p.parts, wildcard)
	}
	return p, true
}

// match reports whether the pattern is for a service.
func (p *pattern) match(name, typ string) bool { return p.matchPart(0, name) && p.matchPart(1, typ) }

func (p *pattern) matchPart(i int, s string) bool { return p.parts[i] == wildcard || p.parts[i] == s }

// eachMatch calls show for the entries that the arguments name, with the part of the
// pattern after name and type: "*" without arguments.
func (c *command) eachMatch(parts int, usage string, show func(s *service, rest string) (bool, error)) error {
	patterns := make([]*pattern, 0, len(c.args))
	for _, arg := range c.args {
		p, ok := parsePattern(arg, 1, parts)
		if !ok {
			return errors.New(usage)
		}
		if err := c.checkField(p); err != nil {
			return err
		}
		patterns = append(patterns, p)
	}
	for _, s := range c.master {
		if len(patterns) == 0 {
			if _, err := show(s, wildcard); err != nil {
				return err
			}
		}
		for _, p := range patterns {
			if !p.match(s.fields[fieldService], s.fields[fieldType]) {
				continue
			}
			shown, err := show(s, p.parts[parts-1])
			if err != nil {
				return err
			}
			if shown {
				p.matches++
			}
		}
	}
	for _, p := range patterns {
		if p.matches == 0 {
			c.warn("unmatched request: \"%s\"", p.text)
		}
	}
	return nil
}

func (c *command) checkField(p *pattern) error {
	if c.opts.mode&masterFields == 0 || p.parts[2] == wildcard || slices.Contains(fieldNames, p.parts[2]) {
		return nil
	}
	return fmt.Errorf("invalid service attribute name: \"%s\"", p.parts[2])
}

func (c *command) showEntries() error {
	return c.eachMatch(2, "-M option requires service_name[/type]", func(s *service, _ string) (bool, error) {
		text, err := c.entry(s, c.opts.mode&foldLines != 0)
		c.put(text)
		return true, err
	})
}

func (c *command) showFields() error {
	return c.eachMatch(3, "-F option requires service_name[/type[/field]]", func(s *service, name string) (bool, error) {
		for field := range fieldNames {
			if name != wildcard && name != fieldNames[field] {
				continue
			}
			if err := c.printField(s, field); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

func (c *command) showServiceParams() error {
	return c.eachMatch(3, "-P option requires service_name[/type[/parameter]]", func(s *service, name string) (bool, error) {
		if s.space == nil {
			return false, nil
		}
		if name != wildcard {
			if !s.has(name) {
				return false, nil
			}
			return true, c.printServiceParam(s, name)
		}
		names := make([]string, 0, len(s.space.values))
		for name := range s.space.values {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if err := c.printServiceParam(s, name); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

func (c *command) printServiceParam(s *service, name string) error {
	value := s.space.values[name]
	if c.opts.mode&expandValues != 0 && c.opts.mode&hideValues == 0 {
		var err error
		if value, err = c.expand(value, s); err != nil {
			return err
		}
	}
	c.printSetting(s.id()+"/"+name, value)
	return nil
}

// columns are where the fields of an entry begin.
var columns = [minFields]int{0, 11, 17, 25, 33, 41, 49, 57}

// entry writes a whole entry, folded or as one line.
func (c *command) entry(s *service, fold bool) (string, error) {
	var b strings.Builder
	for field, text := range s.fields[:minFields] {
		if field > 0 {
			b.WriteString(strings.Repeat(" ", max(1, columns[field]-b.Len())))
		}
		b.WriteString(text)
	}
	a := argWriter{text: &b, length: b.Len(), fold: fold}
	return c.arguments(s, &a)
}

// printField shows one field, with the arguments if it is the command.
func (c *command) printField(s *service, field int) error {
	var b strings.Builder
	if c.opts.mode&hideNames == 0 {
		b.WriteString(s.id() + "/" + fieldNames[field])
	}
	if c.opts.mode&(hideNames|hideValues) == 0 {
		b.WriteString(" = ")
	}
	if c.opts.mode&hideValues != 0 {
		c.put(b.String() + "\n")
		return nil
	}
	length := b.Len()
	if length > 0 && length+len(s.fields[field]) > lineLimit {
		b.WriteString("\n" + indent)
		length = len(indent)
	}
	b.WriteString(s.fields[field])
	a := argWriter{text: &b, length: length + len(s.fields[field]), fold: c.opts.mode&foldLines != 0}
	if field != fieldCommand {
		c.put(b.String() + "\n")
		return nil
	}
	text, err := c.arguments(s, &a)
	c.put(text)
	return err
}

// An argWriter writes the arguments of a command.
type argWriter struct {
	text   *strings.Builder
	length int // of the line so far
	fold   bool
}

// add writes one argument, or an option with its value, on a new line if it does not
// fit.
func (a *argWriter) add(text string) { a.addSized(text, len(text)) }

// addSized is add for a text that counts for size bytes when the line is broken.
func (a *argWriter) addSized(text string, size int) {
	switch {
	case a.length <= len(indent):
	case !a.fold || a.length+1+size < lineLimit:
		a.text.WriteByte(' ')
		a.length++
	default:
		a.text.WriteString("\n" + indent)
		a.length = len(indent)
	}
	a.text.WriteString(text)
	a.length += len(text)
}

// arguments writes the command's arguments and the end of the line. Each -o with its
// value has a line of its own when lines are folded.
func (c *command) arguments(s *service, a *argWriter) (string, error) {
	args := s.fields[minFields:]
	i := 0
	for ; i < len(args) && isOption(args[i]); i++ {
		if !hasValue(args[i]) || i+1 == len(args) {
			a.add(args[i])
			continue
		}
		value := args[i+1]
		if args[i] == "-o" && c.opts.mode&expandValues != 0 {
			var err error
			if value, err = c.expand(value, s); err != nil {
				return "", err
			}
		}
		a.length = lineLimit
		a.add(args[i] + " " + braced(value))
		a.length = lineLimit
		i++
	}
	for first := i; i < len(args); i++ {
		if i == first { // Postfix forgets the braces of this one
			a.add(args[i])
		} else {
			a.addSized(braced(args[i]), len(args[i])) // nor does it count those of the others
		}
	}
	return a.text.String() + "\n", nil
}

// braced puts braces around an argument that has blanks.
func braced(arg string) string {
	if strings.ContainsAny(arg, blanks) {
		return "{" + arg + "}"
	}
	return arg
}
