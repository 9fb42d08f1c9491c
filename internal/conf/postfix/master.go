package postfix

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// Master is a parsed master.cf.
type Master struct {
	Services []ServiceEntry
	warnings []string
}

// Warnings are the texts to be logged when the file is put to use.
func (m *Master) Warnings() []string { return m.warnings }

// DefaultProcesses is the MaxProc of an entry that has "-": $default_process_limit.
const DefaultProcesses = -1

// ServiceEntry is one entry of master.cf with its defaults filled in.
type ServiceEntry struct {
	Name, Type              string
	Private, Unpriv, Chroot bool
	Wakeup                  int  // seconds, 0 is never
	WakeupUsed              bool // "?": wake up only after first use
	MaxProc                 int  // 0 is unlimited, DefaultProcesses is $default_process_limit
	Command                 string
	Args                    []string          // the arguments after the options
	Overrides               map[string]string // -o name=value
	Verbose                 int               // number of -v
	File                    string
	Line                    int
}

// LoadMaster reads dir/master.cf.
func LoadMaster(dir string) (*Master, error) {
	path := filepath.Join(dir, "master.cf")
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %s", path, errnoText(err))
	}
	defer f.Close()
	return readMaster(path, f)
}

// ParseMaster is LoadMaster for the text of a master.cf; path is its name in messages.
func ParseMaster(path, text string) (*Master, error) {
	return readMaster(path, strings.NewReader(text))
}

func readMaster(path string, r io.Reader) (*Master, error) {
	m := &Master{}
	lines := logline.NewReader(r, path, func(w string) { m.warnings = append(m.warnings, w) })
	for {
		text, num, err := lines.Next()
		if err == io.EOF {
			return m, nil
		}
		var s ServiceEntry
		if err == nil {
			s, err = parseEntry(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, num, err)
		}
		s.File, s.Line = path, num
		m.add(s)
	}
}

// add appends an entry, or replaces one for the same socket.
func (m *Master) add(s ServiceEntry) {
	name := s.canonical()
	i := slices.IndexFunc(m.Services, func(o ServiceEntry) bool { return o.Type == s.Type && o.canonical() == name })
	if i < 0 {
		m.Services = append(m.Services, s)
		return
	}
	m.warnings = append(m.warnings,
		fmt.Sprintf("duplicate master.cf entry for service \"%s\" (%s) -- using the last entry", s.Name, name))
	m.Services[i] = s
}

// canonical is the name by which entries are told apart: with the port number
// for inet services.
func (s *ServiceEntry) canonical() string {
	if s.Type != "inet" {
		return s.Name
	}
	host, port := SplitHostPort(s.Name)
	n, err := ServicePort(port)
	if err != nil {
		return s.Name
	}
	if host == "" {
		return strconv.Itoa(n)
	}
	return "[" + strings.Trim(host, "[]") + "]:" + strconv.Itoa(n)
}

// SplitHostPort splits the [host:]port of an inet service. Host keeps no brackets.
func SplitHostPort(name string) (host, port string) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return "", name
	}
	return strings.Trim(name[:i], "[]"), name[i+1:]
}

// knownPorts are the names of known_tcp_ports as it is by default.
var knownPorts = map[string]int{"lmtp": 24, "smtp": 25, "smtps": 465, "submissions": 465, "submission": 587}

// ServicePort is the number of a port given as number or name.
func ServicePort(port string) (int, error) {
	if n, ok := knownPorts[port]; ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		return int(n), nil
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return 0, fmt.Errorf("unknown service name: %s", port)
	}
	return n, nil
}

// A fieldReader takes the fields of an entry one by one and keeps the first error.
type fieldReader struct {
	rest string
	err  error
}

func (r *fieldReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *fieldReader) word() string {
	s := strings.TrimLeft(r.rest, spaces)
	n := strings.IndexAny(s, spaces)
	if n < 0 {
		n = len(s)
	}
	r.rest = s[n:]
	return s[:n]
}

// text reads a field; dflt replaces "-".
func (r *fieldReader) text(field, dflt string) string {
	w := r.word()
	switch {
	case w == "":
		r.fail("missing \"%s\" field", field)
	case w == "-" && dflt == "":
		r.fail("field \"%s\" has no default value", field)
	case w == "-":
		return dflt
	}
	return w
}

func (r *fieldReader) bool(field, dflt string) bool {
	w := r.text(field, dflt)
	if w != "y" && w != "n" {
		r.fail("field \"%s\": bad value: \"%s\"", field, w)
	}
	return w == "y"
}

func (r *fieldReader) number(field, text string) int {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		r.fail("field \"%s\": bad value: \"%s\"", field, text)
	}
	return int(n)
}

// ServiceTypes are the types that an entry may have.
var ServiceTypes = []string{"inet", "unix", "unix-dgram", "fifo", "pass"}

func parseEntry(text string) (ServiceEntry, error) {
	r := &fieldReader{rest: text}
	var s ServiceEntry
	s.Name = r.word()
	s.Type = r.text("transport type", "")
	if r.err == nil && !slices.Contains(ServiceTypes, s.Type) {
		r.fail("field \"transport type\": bad value: \"%s\"", s.Type)
	}
	s.Private = r.bool("private", "y")
	if r.err == nil && s.Private && s.Type == "inet" {
		r.fail("inet service cannot be private")
	}
	s.Unpriv = r.bool("unprivileged", "y")
	s.Chroot = r.bool("chroot", "n")
	wakeup := r.text("wakeup_time", "0")
	wakeup, s.WakeupUsed = strings.CutSuffix(wakeup, "?")
	s.Wakeup = r.number("wakeup_time", wakeup)
	s.MaxProc = DefaultProcesses
	if max := r.text("max_proc", "-1"); max != "-1" {
		s.MaxProc = r.number("max_proc", max)
	}
	s.Command = r.text("command", "")
	if r.err != nil {
		return s, r.err
	}
	args, err := splitArgs(r.rest)
	if err != nil {
		return s, err
	}
	return s, s.options(args)
}

// splitArgs splits the arguments at white space; { text with blanks } is one,
// without the braces and the blanks next to them.
func splitArgs(s string) ([]string, error) {
	var args []string
	for {
		if s = strings.TrimLeft(s, spaces); s == "" {
			return args, nil
		}
		if s[0] != '{' {
			n := itemLen(s, spaces)
			args = append(args, s[:n])
			s = s[n:]
			continue
		}
		n := balanced(s)
		if n == 0 {
			return nil, fmt.Errorf("missing '}' in \"%s\"", s)
		}
		if n < len(s) && !isSpace(s[n]) {
			return nil, fmt.Errorf("syntax error after '}' in \"%s\"", s)
		}
		args = append(args, strings.Trim(s[1:n-1], spaces))
		s = s[n:]
	}
}

var errOptionValue = errors.New("option requires an argument -- 'o'")

// options takes the daemon's own options off the arguments.
func (s *ServiceEntry) options(args []string) error {
	s.Overrides = map[string]string{}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		for arg = arg[1:]; arg != ""; arg = arg[1:] {
			if arg[0] == 'v' {
				s.Verbose++
			}
			if arg[0] != 'o' {
				continue
			}
			value := arg[1:]
			if value == "" {
				if len(args) == 0 {
					return errOptionValue
				}
				value, args = args[0], args[1:]
			}
			if err := s.override(value); err != nil {
				return err
			}
			break
		}
	}
	s.Args = args
	return nil
}

func (s *ServiceEntry) override(text string) error {
	name, value, err := SplitNameValue(text)
	if err != nil {
		return fmt.Errorf("invalid \"-o %s\" option value: %w", text, err)
	}
	s.Overrides[name] = value
	return nil
}

// Main returns m as this service sees it: with its -o options and the
// attributes $service_name and $process_name.
func (s *ServiceEntry) Main(m *Main) *Main {
	o := maps.Clone(s.Overrides)
	o["service_name"] = s.Name
	o["process_name"] = s.Command
	return m.With(o)
}
