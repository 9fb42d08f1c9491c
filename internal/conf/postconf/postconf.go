package postconf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// A Tool is the command with what it shall say of the program it is part of. The
// functions may be nil.
type Tool struct {
	TableTypes  func() []string // -m
	LockMethods []string        // -l
	SASLServer  []string        // -a
	SASLClient  []string        // -A
	TLSVersion  func() string   // -T compile-version and run-version
	KeyTypes    []string        // -T public-key-algorithms
}

// defaultDir is where the configuration is unless -c or MAIL_CONFIG say otherwise.
const defaultDir = "/etc/postfix"

// A command is one run.
type command struct {
	tool   *Tool
	name   string // in messages
	opts   options
	args   []string
	stdout *bufio.Writer
	stderr io.Writer

	dir    string
	main   *postfix.Main
	values map[string]string // what main.cf, -c and -o set
	names  []string          // of values, in the order of the file
	params paramTable
	master []*service
	warned map[string]bool // database client files that were looked at
}

// Main runs postconf and returns its exit status.
func (t *Tool) Main(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	// A fatal error leaves unwritten what the buffer holds, as in Postfix.
	c := &command{tool: t, name: "postconf", stdout: bufio.NewWriterSize(stdout, 4096), stderr: stderr, warned: map[string]bool{}}
	err := c.run(args)
	if err == nil {
		err = c.stdout.Flush()
	}
	if err == nil {
		return 0
	}
	var two *postfix.Error
	if errors.As(err, &two) {
		c.warn("%s", two.Warning)
	}
	if !errors.Is(err, errReported) {
		c.message("fatal: ", err.Error())
	}
	return 1
}

// errReported is a failure that was told of with a warning.
var errReported = errors.New("failed")

func (c *command) warn(format string, args ...any) {
	c.message("warning: ", fmt.Sprintf(format, args...))
}

// message writes a line to stderr. Control characters and bytes that are not ASCII
// become "?".
func (c *command) message(severity, text string) {
	line := append([]byte(c.name+": "+severity), text...)
	for i, b := range line {
		if b < ' ' || b > '~' {
			line[i] = '?'
		}
	}
	_, _ = c.stderr.Write(append(line, '\n')) // there is nowhere to report a failure
}

func (c *command) run(args []string) error {
	var err error
	if c.args, err = c.opts.parse(args, c.stderr); err != nil {
		return err
	}
	c.findDir()
	mode := c.opts.mode
	switch {
	case mode&(expandTemplates|dumpTemplates) != 0:
		return c.showTemplates()
	case mode&showMaps != 0:
		return c.showMaps()
	case mode&showLocks != 0:
		return c.list(c.tool.LockMethods)
	case mode&masterModes != 0 && mode&editModes == 0:
		return c.showMaster()
	case mode&showSASLServer != 0:
		return c.list(c.tool.SASLServer)
	case mode&showSASLClient != 0:
		return c.list(c.tool.SASLClient)
	case mode&showTLS != 0:
		return c.showTLS()
	case mode&editModes != 0:
		return c.edit()
	}
	return c.showMain()
}

// findDir sets the configuration directory.
func (c *command) findDir() {
	c.values = map[string]string{}
	if c.opts.dir == "" {
		c.opts.dir = os.Getenv("MAIL_CONFIG")
	}
	if c.dir = c.opts.dir; c.dir == "" {
		c.dir = defaultDir
		return
	}
	c.set("config_directory", c.dir)
}

func (c *command) edit() error {
	switch {
	case len(c.args) == 0:
		return errors.New("missing service argument")
	case c.opts.mode&masterModes != 0:
		return c.editMaster()
	}
	return c.editMain()
}

func (c *command) showMain() error {
	defaults := c.opts.mode&showDefaults != 0
	if defaults {
		c.main = postfix.Empty(c.dir)
	} else if err := c.readMain(); err != nil {
		return err
	}
	if err := c.readMaster(); err != nil {
		var missing *openError
		if !errors.As(err, &missing) {
			return err
		}
		c.warn("%v", err)
	}
	c.addServiceParams()
	if !defaults {
		if err := c.addUserParams(); err != nil {
			return err
		}
	}
	if err := c.printParams(); err != nil {
		return err
	}
	if !defaults {
		return c.warnUnused(true)
	}
	return nil
}

func (c *command) showMaster() error {
	if err := c.readMaster(); err != nil {
		return err
	}
	if err := c.readMain(); err != nil {
		return err
	}
	c.addServiceParams()
	if err := c.addUserParams(); err != nil {
		return err
	}
	show := c.showEntries
	switch {
	case c.opts.mode&masterFields != 0:
		show = c.showFields
	case c.opts.mode&masterParams != 0:
		show = c.showServiceParams
	}
	if err := show(); err != nil {
		return err
	}
	return c.warnUnused(false)
}

// readMain reads main.cf and the overrides of -o.
func (c *command) readMain() error {
	var err error
	if c.main, err = postfix.Read(c.dir, func(text string) { c.warn("%s", text) }); err != nil {
		return err
	}
	for _, s := range c.main.Settings() {
		if s.Name == "config_directory" && c.opts.dir != "" && s.Value != c.dir {
			c.warn("%s/main.cf, line %d: overriding earlier entry: config_directory=%s", c.dir, s.Line, c.dir)
		}
		c.set(s.Name, s.Value)
	}
	overrides := map[string]string{}
	for _, text := range c.opts.overrides {
		name, value, err := postfix.SplitNameValue(text)
		if err != nil {
			return fmt.Errorf("invalid parameter override: %s: %w", text, err)
		}
		overrides[name] = value
		c.set(name, value)
	}
	c.main = c.main.With(overrides)
	return nil
}

func (c *command) set(name, value string) {
	if _, ok := c.values[name]; !ok {
		c.names = append(c.names, name)
	}
	c.values[name] = value
}
