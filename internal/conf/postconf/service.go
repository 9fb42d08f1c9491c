package postconf

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// The fields of an entry in master.cf; arguments of the command follow.
const (
	fieldService = iota
	fieldType
	fieldPrivate
	fieldUnprivileged
	fieldChroot
	fieldWakeup
	fieldLimit
	fieldCommand
	minFields
)

var fieldNames = []string{"service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"}

// A service is one entry of master.cf as it is written, except that options and their
// values are arguments of their own and braces are taken off.
type service struct {
	fields []string
	space  *namespace      // nil without -o name=value
	valid  map[string]bool // names set in it that are used somewhere
}

// A namespace holds the -o name=value of the entries with one name and type.
type namespace struct {
	values map[string]string
	names  []string // of values, in the order of the file
}

func (s *service) id() string { return s.fields[fieldService] + "/" + s.fields[fieldType] }

// place is where a service is, for messages; nil stands for main.cf.
func (s *service) place() string {
	if s == nil {
		return "main.cf"
	}
	return "master.cf:" + s.id()
}

// has reports whether the entry sets a parameter.
func (s *service) has(name string) bool {
	if s.space == nil {
		return false
	}
	_, ok := s.space.values[name]
	return ok
}

// lookup is the value of a name for this service alone.
func (s *service) lookup(name string) (string, bool) {
	switch name {
	case "process_name":
		return path.Base(s.fields[fieldCommand]), true
	case "service_name":
		return s.fields[fieldService], true
	}
	if s.space == nil {
		return "", false
	}
	v, ok := s.space.values[name]
	return v, ok
}

// An openError is a file that cannot be opened.
type openError struct{ text string }

func (e *openError) Error() string { return e.text }

// readMaster reads master.cf.
func (c *command) readMaster() error {
	name := filepath.Join(c.dir, "master.cf")
	f, err := os.Open(name)
	if err != nil {
		return &openError{fmt.Sprintf("open %s: %s", name, reason(err))}
	}
	defer f.Close()
	lines := logline.NewReader(f, name, func(text string) { c.warn("%s", text) })
	for size := 0; ; {
		text, num, err := lines.Next()
		if err != nil {
			// Postfix takes a file that cannot be read for one that ends.
			if errors.Is(err, logline.ErrTooLong) {
				return fmt.Errorf("file %s: line %d: %w", name, num, err)
			}
			return nil
		}
		if size += len(text); size > maxMaster {
			return fmt.Errorf("file %s: line %d: the file is too large", name, num)
		}
		s, err := c.parseService(text)
		if errors.Is(err, errFieldCount) {
			return fmt.Errorf("file %s: line %d: %w", name, num, err)
		}
		if err != nil {
			return err
		}
		c.master = append(c.master, s)
	}
}

// maxMaster bounds the text of a master.cf that is kept.
const maxMaster = 64 << 20

var errFieldCount = errors.New("bad field count")

// parseService takes an entry apart.
func (c *command) parseService(text string) (*service, error) {
	s := &service{fields: splitFields(text)}
	if len(s.fields) < minFields {
		return nil, errFieldCount
	}
	if err := s.check(text); err != nil {
		return nil, err
	}
	c.normalize(s)
	return s, nil
}

// splitFields splits at white space outside braces.
func splitFields(text string) []string { return postfix.SplitBraced(text, blanks) }

// check checks the fields before the command. Text is what they were read from.
func (s *service) check(text string) error {
	if s.fields[fieldService] == "" {
		return s.badField(fieldService, text)
	}
	if !slices.Contains(postfix.ServiceTypes, s.fields[fieldType]) {
		return s.badField(fieldType, text)
	}
	for _, field := range []int{fieldPrivate, fieldUnprivileged, fieldChroot} {
		if v := s.fields[field]; v != "y" && v != "n" && v != "-" {
			return s.badField(field, text)
		}
	}
	wakeup := strings.TrimSuffix(s.fields[fieldWakeup], "?")
	if wakeup != "-" && strings.Trim(wakeup, digits) != "" {
		return s.badField(fieldWakeup, text)
	}
	if v := s.fields[fieldLimit]; v != "-" && strings.Trim(v, digits) != "" {
		return s.badField(fieldLimit, text)
	}
	return nil
}

const digits = "0123456789"

func (s *service) badField(field int, text string) error {
	text = strings.ReplaceAll(text, "\n", " ")
	return fmt.Errorf("invalid %s field \"%s\" in \"%s\"", fieldNames[field], s.fields[field], text)
}

// isOption reports whether an argument is one of the options before the program's own
// arguments.
func isOption(arg string) bool { return arg != "" && arg[0] == '-' && arg != "--" }

// normalize makes options and their values separate arguments and takes the braces
// off those that have some.
func (c *command) normalize(s *service) {
	i := minFields
	for ; i < len(s.fields) && isOption(s.fields[i]); i++ {
		arg := s.fields[i]
		if n := strings.IndexByte(arg[1:], 'o') + 1; n > 1 { // "-vo..." is "-v", "-o..."
			s.fields = slices.Insert(s.fields, i+1, "-"+arg[n:])
			s.fields[i] = arg[:n]
			continue
		}
		if !hasValue(arg) {
			continue
		}
		if len(arg) > 2 {
			s.fields = slices.Insert(s.fields, i+1, arg[2:])
			s.fields[i] = arg[:2]
		}
		if i++; i < len(s.fields) && strings.HasPrefix(s.fields[i], "{") {
			s.fields[i] = c.nameValue(c.argument(s.fields[i]))
		}
	}
	for ; i < len(s.fields); i++ {
		if strings.HasPrefix(s.fields[i], "{") {
			s.fields[i] = c.argument(s.fields[i])
		}
	}
}

// hasValue reports whether an option is one with a value.
func hasValue(option string) bool { return len(option) > 1 && option[1] == 'o' }

// argument takes off braces and the blanks next to them.
func (c *command) argument(arg string) string {
	text, err := unbrace(arg)
	if err != nil {
		c.warn("master.cf: %v", err)
	}
	return strings.Trim(text, logline.Spaces)
}

// nameValue takes out the blanks around "=".
func (c *command) nameValue(arg string) string {
	name, value, err := postfix.SplitNameValue(arg)
	if err != nil {
		c.warn("master.cf: %v: \"%s\"", err, arg)
		return arg
	}
	return name + "=" + value
}

// unbrace returns what the braces hold that text begins with. Text after them is an error,
// and left out.
func unbrace(text string) (string, error) {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth > 0 {
			continue
		}
		if i+1 < len(text) {
			return text[1:i], fmt.Errorf("syntax error after '}' in \"%s\"", text)
		}
		return text[1:i], nil
	}
	return text[1:], fmt.Errorf("missing '}' in \"%s\"", text)
}

// addOverrides collects the -o name=value of all entries. As in Postfix an entry
// shares those of later entries of its name and type, unless there were none yet.
func (c *command) addOverrides() {
	spaces := map[string]*namespace{}
	for _, s := range c.master {
		for i := minFields; i+1 < len(s.fields) && isOption(s.fields[i]); i++ {
			if !hasValue(s.fields[i]) {
				continue
			}
			i++
			name, value, err := postfix.SplitNameValue(s.fields[i])
			if err != nil {
				continue
			}
			space := spaces[s.id()]
			if space == nil {
				space = &namespace{values: map[string]string{}}
				spaces[s.id()] = space
			}
			if _, ok := space.values[name]; !ok {
				space.names = append(space.names, name)
			}
			space.values[name] = value
		}
		if s.space = spaces[s.id()]; s.space != nil {
			s.valid = map[string]bool{}
		}
	}
}
