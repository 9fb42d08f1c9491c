package postconf

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// A request is what an argument of an edit of master.cf asks for.
type request struct {
	*pattern
	value string
	field int // -F
}

const masterEdits = "-Me, -Fe, -Pe, -X, or -#"

// editMaster carries out -e, -X or -# with -M, -F or -P.
func (c *command) editMaster() error {
	requests := make([]*request, 0, len(c.args))
	for _, arg := range c.args {
		r, err := c.request(arg)
		if err != nil {
			return err
		}
		requests = append(requests, r)
	}
	return c.edits("master.cf", func(e *editor) error { return c.rewriteMaster(e, requests) })
}

func (c *command) request(arg string) (*request, error) {
	if strings.Contains(arg, "\n") {
		return nil, errors.New(masterEdits + " accept no multi-line input")
	}
	text := strings.TrimLeft(arg, logline.Spaces)
	if strings.HasPrefix(text, "#") {
		return nil, errors.New(masterEdits + " accept no comment input")
	}
	r := &request{}
	name := strings.TrimRight(text, logline.Spaces)
	if c.opts.mode&editConf != 0 {
		var err error
		if name, r.value, err = postfix.SplitNameValue(text); err != nil {
			return nil, fmt.Errorf("%w: \"%s\"", err, arg)
		}
	} else if strings.Contains(text, "=") {
		return nil, errors.New("-X or -# requires names without value")
	}
	err := c.requestPattern(r, name)
	if err == nil {
		r.text = arg
	}
	return r, err
}

// requestPattern takes name/type/rest apart and checks what goes with it.
func (c *command) requestPattern(r *request, name string) error {
	hasBlanks := c.opts.mode&editConf != 0 && strings.ContainsAny(r.value, blanks)
	parts, usage := 3, ""
	switch {
	case c.opts.mode&masterEntries != 0:
		parts, usage = 2, "-Me, -MX or -M# requires service_name/type"
	case c.opts.mode&masterFields != 0:
		usage = "-Fe or -FX requires service_name/type/field_name"
	default:
		usage = "-Pe or -PX requires service_name/type/parameter"
	}
	var ok bool
	if r.pattern, ok = parsePattern(name, parts, parts); !ok {
		return errors.New(usage)
	}
	switch {
	case c.opts.mode&masterFields != 0:
		if err := c.checkField(r.pattern); err != nil {
			return err
		}
		if r.field = slices.Index(fieldNames, r.parts[2]); r.field < 0 {
			return errors.New("-Fe does not accept wild-card field name")
		}
		if hasBlanks && r.field != fieldCommand {
			return errors.New("-Fe does not accept whitespace in non-command field")
		}
	case c.opts.mode&masterParams != 0:
		if r.parts[2] == wildcard {
			return errors.New("-Pe does not accept wild-card parameter name")
		}
		if hasBlanks {
			return errors.New("-Pe does not accept whitespace in parameter value")
		}
	}
	return nil
}

// rewriteMaster copies master.cf with what the requests ask for.
func (c *command) rewriteMaster(e *editor, requests []*request) error {
	matched := false // the entry that the line belongs to is requested
	for {
		line, err := e.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		var changed *service
		if !continues(line) {
			if changed, matched, err = c.rewriteEntry(e, line, requests); err != nil {
				return err
			}
		}
		switch {
		case changed != nil:
			if err := c.copyEntry(e, changed); err != nil {
				return err
			}
		case !matched:
			e.copy(line)
		case c.opts.mode&commentOut != 0:
			e.copy("#" + line)
		}
	}
	return c.unmatched(e, requests)
}

// rewriteEntry applies the requests to the entry that begins with a line. Changed is nil
// if the entry is to be copied, left out or commented out.
func (c *command) rewriteEntry(e *editor, line string, requests []*request) (changed *service, matched bool, err error) {
	name, typ, err := serviceOf(e, line)
	if err != nil {
		return nil, false, err
	}
	replaces := c.opts.mode&masterEntries != 0 && c.opts.mode&editConf != 0
	modifies := !replaces && c.opts.mode&masterEntries == 0
	for _, r := range requests {
		var whole *service
		if replaces {
			if whole, err = c.requested(r); err != nil {
				return nil, false, err
			}
		}
		ours := r.match(name, typ) || replaces && whole.fields[fieldService] == name && whole.fields[fieldType] == typ
		if !ours {
			continue
		}
		matched = true
		r.matches++
		switch {
		case replaces && r.matches == 1:
			changed = whole
		case modifies && changed == nil:
			if changed, err = c.wholeEntry(e, line); err != nil {
				return nil, false, err
			}
			fallthrough
		case modifies:
			if err := c.modify(changed, r); err != nil {
				return nil, false, err
			}
		}
	}
	return changed, matched, nil
}

// serviceOf returns name and type at the beginning of a line.
func serviceOf(e *editor, line string) (name, typ string, err error) {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(blanks, r) })
	fail := func(format string, args ...any) error {
		return fmt.Errorf("file %s: line %d: %s", e.path, e.num, fmt.Sprintf(format, args...))
	}
	switch {
	case len(words) < 2:
		return "", "", fail("specify service name and type on the same line")
	case strings.Contains(words[0], "="):
		return "", "", fail("service name syntax \"%s\" is unsupported with %s", words[0], masterEdits)
	case strings.ContainsAny(words[1], "=/"):
		return "", "", fail("service type syntax \"%s\" is unsupported with %s", words[1], masterEdits)
	}
	return words[0], words[1], nil
}

// requested is the entry that a request of -M puts in the file.
func (c *command) requested(r *request) (*service, error) {
	s, err := c.parseService(r.value)
	if errors.Is(err, errFieldCount) {
		return nil, fmt.Errorf("%w: \"%s\"", err, r.text)
	}
	return s, err
}

// wholeEntry reads the rest of an entry.
func (c *command) wholeEntry(e *editor, line string) (*service, error) {
	num := e.num
	rest, err := e.rest()
	if err != nil {
		return nil, err
	}
	s, err := c.parseService(line + rest)
	if errors.Is(err, errFieldCount) {
		return nil, fmt.Errorf("file %s: line %d: %w", e.path, num, err)
	}
	return s, err
}

// modify carries out a request of -F or -P.
func (c *command) modify(s *service, r *request) error {
	switch {
	case c.opts.mode&masterParams != 0:
		c.setParam(s, r)
		return nil
	case r.field == fieldCommand:
		if s.fields = append(s.fields[:fieldCommand], splitFields(r.value)...); len(s.fields) < minFields {
			return fmt.Errorf("%w: \"%s\"", errFieldCount, r.text) // Postfix crashes
		}
		c.normalize(s)
	default:
		s.fields[r.field] = r.value
	}
	return s.check(r.value)
}

// setParam replaces, adds or removes an -o name=value.
func (c *command) setParam(s *service, r *request) {
	name := r.parts[2]
	found := false
	i := minFields
	for i < len(s.fields) && isOption(s.fields[i]) {
		if !hasValue(s.fields[i]) || i+1 == len(s.fields) {
			i++
			continue
		}
		if s.fields[i] == "-o" && strings.HasPrefix(s.fields[i+1], name+"=") {
			if c.opts.mode&exclude != 0 {
				s.fields = slices.Delete(s.fields, i, i+2)
				continue
			}
			found = true
			s.fields[i+1] = name + "=" + r.value
		}
		i += 2
	}
	if c.opts.mode&editConf != 0 && !found {
		s.fields = slices.Insert(s.fields, i, "-o", name+"="+r.value)
	}
}

// unmatched appends the entries that are new, and tells of other requests for which there
// is no service.
func (c *command) unmatched(e *editor, requests []*request) error {
	for _, r := range requests {
		if r.matches > 0 {
			continue
		}
		switch {
		case c.opts.mode&masterEntries == 0:
			c.warn("unmatched service_name/type: \"%s\"", r.text)
		case c.opts.mode&editConf != 0:
			s, err := c.requested(r)
			if err != nil {
				return err
			}
			if err := c.copyEntry(e, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *command) copyEntry(e *editor, s *service) error {
	text, err := c.entry(s, true)
	e.copy(text)
	return err
}
