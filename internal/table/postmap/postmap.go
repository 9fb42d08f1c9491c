// Package postmap is postmap(1): it makes and queries lookup tables.
package postmap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/table"
)

const usage = "usage: postmap [-NfinoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file..."

// command is one run.
type command struct {
	config string
	query  *string
	remove *string
	list   bool
	add    bool // -i
	build  table.BuildOptions
	noCopy bool // -p

	stdin          io.Reader
	stdout, stderr io.Writer
}

// errUsage is a wrong command line.
var errUsage = errors.New(usage)

// Main runs postmap and returns its exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{config: "/etc/postfix", stdin: stdin, stdout: stdout, stderr: stderr}
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" {
		c.config = dir
	}
	c.build.Warn = func(text string) { fmt.Fprintf(stderr, "postmap: warning: %s\n", text) }
	files, err := c.parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "postmap: fatal: %v\n", err)
		return 1
	}
	status, err := c.run(files)
	if err != nil {
		fmt.Fprintf(stderr, "postmap: fatal: %v\n", err)
		return 1
	}
	return status
}

// flags are the options without argument.
var flags = map[byte]func(*command){
	'N': func(c *command) { c.build.NoNUL = false },
	'f': func(c *command) { c.build.NoFold = true },
	'i': func(c *command) { c.add, c.build.Keep = true, true },
	'n': func(c *command) { c.build.NoNUL = true },
	'o': func(*command) {},
	'p': func(c *command) { c.noCopy = true },
	'r': func(c *command) { c.build.Duplicates = table.ReplaceDuplicate },
	's': func(c *command) { c.list = true },
	'u': func(*command) {},
	'U': func(*command) {},
	'v': func(*command) {},
	'w': func(c *command) { c.build.Duplicates = table.IgnoreDuplicate },
}

func (c *command) parse(args []string) ([]string, error) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0][1:]
		args = args[1:]
		if arg == "-" {
			break
		}
		for i := 0; i < len(arg); i++ {
			if set, ok := flags[arg[i]]; ok {
				set(c)
				continue
			}
			value := arg[i+1:]
			if value == "" {
				if len(args) == 0 {
					return nil, errUsage
				}
				value, args = args[0], args[1:]
			}
			switch arg[i] {
			case 'c':
				c.config = value
			case 'q':
				c.query = &value
			case 'd':
				c.remove = &value
			default:
				return nil, errUsage
			}
			break
		}
	}
	if btoi(c.query != nil)+btoi(c.remove != nil)+btoi(c.list) > 1 {
		return nil, errors.New("specify only one of -s -q or -d")
	}
	if len(args) == 0 {
		return nil, errUsage
	}
	return args, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *command) run(files []string) (int, error) {
	specs := make([]string, len(files))
	for i, f := range files {
		spec, err := c.spec(f)
		if err != nil {
			return 0, err
		}
		specs[i] = spec
	}
	switch {
	case c.query != nil:
		return c.queryAll(specs)
	case c.remove != nil:
		return c.deleteAll(specs)
	case c.list:
		return 0, c.listAll(specs)
	}
	for _, spec := range specs {
		if err := c.make(spec); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// spec adds default_database_type to a name without type.
func (c *command) spec(file string) (string, error) {
	if strings.Contains(file, ":") {
		return file, nil
	}
	main, err := postfix.Load(c.config)
	if err != nil {
		return "", err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return "", err
	}
	return core.DefaultDatabaseType + ":" + file, nil
}

func (c *command) open(spec string) (table.Table, error) {
	sink := maillog.NewFunc(func(level maillog.Level, text string) {
		fmt.Fprintf(c.stderr, "postmap: warning: %s\n", text)
	})
	return table.Open(spec, table.Options{NoFold: c.build.NoFold, Log: sink})
}

// queryAll looks the key up in each table until one has it. "-" reads keys from
// standard input.
func (c *command) queryAll(specs []string) (int, error) {
	if *c.query != "-" {
		value, found, err := c.lookup(specs, *c.query)
		if err != nil || !found {
			return 1, err
		}
		fmt.Fprintln(c.stdout, value)
		return 0, nil
	}
	status := 1
	out := bufio.NewWriter(c.stdout)
	in := bufio.NewScanner(c.stdin)
	for in.Scan() {
		value, found, err := c.lookup(specs, in.Text())
		if err != nil {
			return 1, err
		}
		if found {
			status = 0
			fmt.Fprintf(out, "%s\t%s\n", in.Text(), value)
		}
	}
	return status, errors.Join(in.Err(), out.Flush())
}

func (c *command) lookup(specs []string, key string) (string, bool, error) {
	for _, spec := range specs {
		t, err := c.open(spec)
		if err != nil {
			return "", false, err
		}
		value, found, err := t.Lookup(context.Background(), key)
		if cl, ok := t.(table.Closer); ok {
			cl.Close() //nolint:errcheck // it was only read
		}
		if err != nil {
			return "", false, fmt.Errorf("table %s: query error: %s", spec, err)
		}
		if found && value == "" {
			c.build.Warn(fmt.Sprintf("table %s: key %s: empty string result is not allowed", spec, key))
			c.build.Warn(fmt.Sprintf("table %s should return NO RESULT in case of NOT FOUND", spec))
		}
		if found {
			return value, true, nil
		}
	}
	return "", false, nil
}

func (c *command) listAll(specs []string) error {
	out := bufio.NewWriter(c.stdout)
	for _, spec := range specs {
		t, err := c.open(spec)
		if err != nil {
			return err
		}
		w, ok := t.(table.Walker)
		if !ok {
			return fmt.Errorf("table %s: sequence operation is not supported", spec)
		}
		if err := w.Walk(func(key, value string) error {
			_, err := fmt.Fprintf(out, "%s\t%s\n", key, value)
			return err
		}); err != nil {
			return err
		}
	}
	return out.Flush()
}

// deleteAll removes a key, or those on standard input, from each table.
func (c *command) deleteAll(specs []string) (int, error) {
	c.build.Keep = true
	keys := []string{*c.remove}
	if *c.remove == "-" {
		content, err := io.ReadAll(c.stdin)
		if err != nil {
			return 1, err
		}
		keys = strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	}
	status := 1
	for _, spec := range specs {
		b, err := c.builder(spec)
		if err != nil {
			return 1, err
		}
		found := false
		for _, key := range keys {
			found = b.Delete(key) || found
		}
		if !found {
			b.Abort()
			continue
		}
		status = 0
		if err := b.Commit(); err != nil {
			return 1, err
		}
	}
	return status, nil
}

// builder begins a build with the permissions of the source.
func (c *command) builder(spec string) (*table.Builder, error) {
	o := c.build
	o.Mode, o.UID, o.GID = 0o644, -1, -1
	_, name, _ := strings.Cut(spec, ":")
	if info, err := os.Stat(name); err == nil && !c.noCopy {
		// Others get what they have on the source, nobody the right to execute.
		o.Mode = 0o600 | info.Mode().Perm()&0o044
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			o.UID, o.GID = int(st.Uid), int(st.Gid)
		}
	}
	return table.NewBuilder(spec, o)
}

// make builds the database of a source file, or adds standard input to it.
func (c *command) make(spec string) error {
	typ, name, ok := strings.Cut(spec, ":")
	if !ok || typ == "" || name == "" {
		return fmt.Errorf("open dictionary: expecting \"type:name\" form instead of %q", spec)
	}
	if err := table.Buildable(typ); err != nil {
		return err
	}
	in := c.stdin
	if !c.add {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("open %s: %s", name, table.Reason(err))
		}
		defer f.Close()
		in = f
	} else {
		name = "stdin"
	}
	b, err := c.builder(spec)
	if err != nil {
		return err
	}
	if err := table.ReadSource(in, name, c.build.Warn, func(r table.Record) error {
		b.Add(r.Key, r.Value)
		return nil
	}); err != nil {
		b.Abort()
		return err
	}
	return b.Commit()
}
