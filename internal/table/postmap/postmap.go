// Package postmap is postmap(1): it makes and queries lookup tables. What postalias(1) has in
// common with it is here, too.
package postmap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// A Program is postmap or postalias: they differ in the source they read and in how they list.
type Program struct {
	Name    string
	Usage   string // after the name
	Options string // letters; with a colon those that have a value
	Listing string // between a key and its value
	// Read reads the source of a table.
	Read func(in io.Reader, name string, o table.SourceOptions, fn func(table.Record) error) error
	// Finish adds what the program itself has to say, if it is not nil.
	Finish func(b *table.Builder, main *postfix.Main) error
}

var postmap = Program{
	Name:    "postmap",
	Usage:   "[-bfFhimnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
	Options: "bc:d:fFhimnNopq:rsuUvw",
	Listing: "\t",
	Read:    table.ReadSource,
}

// Main runs postmap and returns its exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return postmap.Run(args, stdin, stdout, stderr)
}

// command is one run.
type command struct {
	*Program
	config string
	main   *postfix.Main
	query  *string
	remove *string
	list   bool
	add    bool // -i
	build  table.BuildOptions
	source table.SourceOptions
	noMode bool // -p: do not copy the source's permissions
	noOwn  bool // -o: nor its owner
	ascii  bool // -u
	utf8   bool // -U
	keys   keyMode

	stdin          io.Reader
	stdout, stderr io.Writer
}

// keyMode is what of a message is looked up.
type keyMode struct{ headers, body, mime bool }

// errUsage is a wrong command line.
var errUsage = errors.New("usage")

// Run runs the program and returns its exit status.
func (p *Program) Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{Program: p, config: "/etc/postfix", stdin: stdin, stdout: stdout, stderr: stderr}
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" {
		c.config = dir
	}
	c.build.Warn = c.warn
	c.source.Warn = c.warn
	status, err := c.do(args)
	if errors.Is(err, errUsage) {
		err = fmt.Errorf("usage: %s %s", p.Name, p.Usage)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: fatal: %v\n", p.Name, err)
		return 1
	}
	return status
}

func (c *command) warn(text string) { fmt.Fprintf(c.stderr, "%s: warning: %s\n", c.Name, text) }

func (c *command) do(args []string) (int, error) {
	args, err := c.options(args)
	if err != nil {
		return 1, err
	}
	if c.main, err = postfix.Load(c.config); err != nil {
		return 1, err
	}
	core, err := postfix.Get[postfix.Core](c.main)
	if err != nil {
		return 1, err
	}
	if err := c.checkKeys(); err != nil {
		return 1, err
	}
	ofMessage := c.keys.headers || c.keys.body
	utf8 := core.SMTPUTF8Enable && !c.ascii && !ofMessage || c.utf8
	c.build.UTF8, c.source.UTF8 = utf8, utf8
	specs := make([]string, len(args))
	for i, file := range args {
		if !strings.Contains(file, ":") {
			file = core.DefaultDatabaseType + ":" + file
		}
		specs[i] = file
	}
	return c.run(specs)
}

// options reads the options and returns what follows them.
func (c *command) options(args []string) ([]string, error) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0][1:]
		args = args[1:]
		if arg == "-" {
			break
		}
		for arg != "" {
			letter := arg[0]
			arg = arg[1:]
			i := strings.IndexByte(c.Options, letter)
			if i < 0 || letter == ':' {
				fmt.Fprintf(c.stderr, "%s: invalid option -- '%c'\n", c.Name, letter)
				return nil, errUsage
			}
			if i+1 == len(c.Options) || c.Options[i+1] != ':' {
				if err := c.flag(letter); err != nil {
					return nil, err
				}
				continue
			}
			value := arg
			arg = ""
			if value == "" {
				if len(args) == 0 {
					fmt.Fprintf(c.stderr, "%s: option requires an argument -- '%c'\n", c.Name, letter)
					return nil, errUsage
				}
				value, args = args[0], args[1:]
			}
			if err := c.value(letter, value); err != nil {
				return nil, err
			}
		}
	}
	return args, nil
}

// flag is an option without value.
func (c *command) flag(letter byte) error {
	switch letter {
	case 'N':
		c.build.NUL = table.WithNUL
	case 'b':
		c.keys.body = true
	case 'f':
		c.build.NoFold = true
	case 'F':
		c.source.Files = true
	case 'h':
		c.keys.headers = true
	case 'i':
		c.add, c.build.Keep = true, true
	case 'm':
		c.keys.mime = true
	case 'n':
		c.build.NUL = table.WithoutNUL
	case 'o':
		c.noOwn = true
	case 'p':
		c.noMode = true
	case 'r':
		c.build.Duplicates = table.ReplaceDuplicate
	case 's':
		if c.query != nil || c.remove != nil {
			return errors.New("specify only one of -s or -q or -d")
		}
		c.list = true
	case 'u':
		c.ascii = true
	case 'U':
		c.utf8 = true
	case 'w':
		c.build.Duplicates = table.IgnoreDuplicate
	}
	return nil // -v would have the steps of the original program written
}

func (c *command) value(letter byte, value string) error {
	switch letter {
	case 'c':
		c.config = value
	case 'q':
		if c.list || c.query != nil || c.remove != nil {
			return errOneOf
		}
		c.query = &value
	case 'd':
		if c.list || c.query != nil || c.remove != nil {
			return errOneOf
		}
		c.remove = &value
	}
	return nil
}

var errOneOf = errors.New("specify only one of -s -q or -d")

// checkKeys checks -b, -h and -m.
func (c *command) checkKeys() error {
	any := c.keys.headers || c.keys.body
	if (any || c.keys.mime) && (c.query == nil || *c.query != "-") {
		return errors.New(`specify -b -h or -m only with "-q -"`)
	}
	if c.keys.mime && !any {
		c.warn("ignoring -m option without -b or -h")
	}
	return nil
}

func (c *command) run(specs []string) (int, error) {
	if len(specs) == 0 {
		if c.list {
			return 1, nil
		}
		return 1, errUsage
	}
	switch {
	case c.remove != nil:
		return c.deleteAll(specs)
	case c.query != nil:
		return c.queryAll(specs)
	case c.list:
		return 0, c.listTable(specs[0])
	}
	for _, spec := range specs {
		if err := c.make(spec); err != nil {
			return 1, err
		}
	}
	return 0, nil
}

func (c *command) open(spec string) (table.Table, error) {
	sink := maillog.NewFunc(func(level maillog.Level, text string) {
		switch level {
		case maillog.Warning:
			c.warn(text)
		case maillog.Error:
			fmt.Fprintf(c.stderr, "%s: error: %s\n", c.Name, text)
		default:
			fmt.Fprintf(c.stderr, "%s: %s\n", c.Name, text)
		}
	})
	return table.Open(spec, table.Options{NoFold: c.build.NoFold, UTF8: c.build.UTF8, Main: c.main, Files: c.source.Files, Log: sink})
}

func (c *command) listTable(spec string) error {
	t, err := c.open(spec)
	if err != nil {
		return err
	}
	defer table.Close(t)
	out := bufio.NewWriter(c.stdout)
	err = table.Walk(t, func(key, value string) error {
		if key == "" {
			c.warn(fmt.Sprintf("table %s: empty lookup key value is not allowed", spec))
		} else if value == "" {
			c.warnEmpty(spec, key)
		}
		return c.show(out, key, value)
	})
	if errors.Is(err, table.ErrNoSequence) {
		return fmt.Errorf("table %s: %w", table.Name(spec), err)
	}
	if err != nil {
		return fmt.Errorf("table %s: sequence error: %w", table.Name(spec), err)
	}
	return out.Flush()
}

// show writes a key and its value.
func (c *command) show(out *bufio.Writer, key, value string) error {
	out.WriteString(key)       //nolint:errcheck // the buffer keeps its first error
	out.WriteString(c.Listing) //nolint:errcheck // as above
	out.WriteString(value)     //nolint:errcheck // as above
	return out.WriteByte('\n')
}

func (c *command) warnEmpty(spec, key string) {
	c.warn(fmt.Sprintf("table %s: key %s: empty string result is not allowed", spec, key))
	c.warn(fmt.Sprintf("table %s should return NO RESULT in case of NOT FOUND", spec))
}
