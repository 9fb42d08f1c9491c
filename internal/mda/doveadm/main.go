package doveadm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// globalOptions are those before the command.
type globalOptions struct {
	debug, verbose bool
	format         string
	hideTitles     bool
	config         string
	overrides      []string // -o
	noConfig       bool     // -O
}

var globalParams = []param{
	{letter: 'D'}, {letter: 'f', kind: kindText}, {letter: 'h'}, {letter: 'v'},
	{letter: 'c', kind: kindText}, {letter: 'i', kind: kindText}, {letter: 'k'}, {letter: 'o', kind: kindText},
	{letter: 'O'}, {letter: 'L'},
}

// Main runs doveadm with the arguments after its name and returns the exit
// status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &session{
		commands: allCommands(), stdin: stdin, stdout: newOutput(stdout), stderr: stderr,
		log: &messages{w: stderr, prefix: "doveadm: "},
	}
	if user := os.Getenv("USER"); user != "" {
		s.log.prefix = "doveadm(" + user + "): "
	}
	err := s.main(args)
	s.stdout.flush()
	return s.log.finish(err)
}

func (s *session) main(args []string) error {
	args, err := s.parseGlobal(args)
	if err != nil {
		return err
	}
	s.log.prefix = ""
	quick := len(args) > 1 && args[0] == "help"
	if !quick {
		if err := s.loadConfig(); err != nil {
			return err
		}
	}
	cmd, words := s.findCommand(args)
	if cmd == nil {
		s.usage(args)
		return exitStatus(exUsage)
	}
	in := &invocation{session: s, cmd: cmd}
	if err := in.parse(args[words-1:]); err != nil {
		return err
	}
	if s.print == nil && cmd.format != "" {
		s.print = newPrinter(formatters[cmd.format](s.stdout, s.global.hideTitles))
	}
	if cmd.mail != nil {
		err = in.mail()
	} else {
		err = cmd.plain(in)
	}
	if errors.Is(err, errUsage) {
		fmt.Fprintf(s.stderr, "doveadm %s %s\n", cmd.name, cmd.usageText())
		return exitStatus(exUsage)
	}
	if s.print != nil && fatalOf(err) == nil {
		s.print.finish()
	}
	return err
}

// parseGlobal reads the options before the command and returns what follows.
func (s *session) parseGlobal(args []string) ([]string, error) {
	o := &s.global
	o.config = configFromEnvironment()
	g := &getopt{program: "doveadm", params: globalParams, ordered: true, short: true, rest: args}
	g.take = func(p *param, value string) error {
		switch p.letter {
		case 'D':
			o.debug, o.verbose = true, true
		case 'v':
			o.verbose = true
		case 'f':
			return s.setFormat(value)
		case 'h':
			o.hideTitles = true
		case 'c':
			o.config = value
		case 'i':
			return s.setInstance(value)
		case 'o':
			o.overrides = append(o.overrides, value)
		case 'O':
			o.noConfig = true
		}
		return nil
	}
	if err := g.run(); err != nil {
		var mistake *usageError
		if errors.As(err, &mistake) {
			fmt.Fprintln(s.stderr, mistake.text)
			return nil, exitStatus(exFatal)
		}
		return nil, err
	}
	// Only now is it known whether there are titles.
	if o.format != "" {
		s.print = newPrinter(formatters[o.format](s.stdout, o.hideTitles))
	}
	s.log.debug = o.debug
	return g.args, nil
}

func (s *session) setFormat(name string) error {
	if s.global.format != "" {
		return nil // the first counts
	}
	if formatters[name] == nil {
		return &fatal{exTempFail, "Unknown print formatter: " + name}
	}
	s.global.format = name
	return nil
}

// parse reads the options and arguments of the command; args begins with the last
// word of its name.
func (in *invocation) parse(args []string) error {
	in.values = make(map[string][]string)
	g := &getopt{program: args[0], params: in.cmd.params, ordered: in.cmd.ordered, rest: args[1:], take: in.take}
	if in.cmd.raw {
		g.args = g.rest
	} else if err := g.run(); err != nil {
		var mistake *usageError
		if errors.As(err, &mistake) {
			fmt.Fprintln(in.stderr, mistake.text)
			return exitStatus(exUsage)
		}
		return err
	}
	for i, arg := range g.args {
		p := in.nextArgument()
		if p == nil {
			in.log.errorf("Extraneous arguments found: %s", strings.Join(g.args[i:], " "))
			return exitStatus(exUsage)
		}
		in.values[p.name] = append(in.values[p.name], arg)
	}
	return nil
}

func (in *invocation) take(p *param, value string) error {
	if p.kind == kindArray {
		in.values[p.name] = append(in.values[p.name], value)
	} else {
		in.values[p.name] = []string{value}
	}
	return nil
}

// nextArgument returns the parameter that the next argument belongs to.
func (in *invocation) nextArgument() *param {
	for i := range in.cmd.params {
		p := &in.cmd.params[i]
		if p.positional && (p.kind == kindArray || !in.set(p.name)) {
			return p
		}
	}
	return nil
}

func configFromEnvironment() string {
	if path := os.Getenv("CONFIG_FILE"); path != "" {
		return path
	}
	return defaultConfig
}

// defaultConfig is the main configuration file.
const defaultConfig = "/etc/dovecot/dovecot.conf"
