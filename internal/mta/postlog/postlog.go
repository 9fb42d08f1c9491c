package postlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
)

// levels are the severities of option -p.
var levels = map[string]maillog.Level{
	"info": maillog.Info, "warn": maillog.Warning, "warning": maillog.Warning, "error": maillog.Error, "err": maillog.Error,
	"fatal": maillog.Fatal, "crit": maillog.Fatal, "panic": maillog.Panic,
}

// prefixes are what stands before the text of a line of a severity.
var prefixes = map[maillog.Level]string{
	maillog.Warning: "warning: ", maillog.Error: "error: ", maillog.Fatal: "fatal: ", maillog.Panic: "panic: ",
}

// command is one run of postlog(1).
type command struct {
	dir    string
	tag    string // as asked for
	level  maillog.Level
	text   []string
	stderr io.Writer
}

// Main is postlog(1): it logs its arguments, or the lines of the standard input.
// An administrator at a terminal sees them too.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{dir: getopt.ConfigDirectory(), level: maillog.Info, stderr: stderr}
	err := c.parse(args)
	if err == nil {
		err = c.run(stdin)
	}
	if err != nil {
		fmt.Fprintf(stderr, "postlog: fatal: %v\n", err)
		return 1
	}
	return 0
}

var errUsage = errors.New("usage: postlog [-c config_dir] [-i] [-p priority] [-t tag] [-v] [text]")

// parse reads the options.
func (c *command) parse(args []string) error {
	var bad error
	cmd := &getopt.Command{Name: "postlog", Exit: 1, Stderr: c.stderr}
	rest, ok := cmd.Options(args, "c:ip:t:v", func(opt byte, value string) {
		switch opt {
		case 'c':
			c.dir = value
		case 't':
			c.tag = printable(value)
		case 'p':
			level, known := levels[strings.ToLower(value)]
			if !known && bad == nil {
				bad = fmt.Errorf("bad severity: \"%s\"", value)
			}
			c.level = level
		}
	})
	c.text = rest
	if !ok {
		return errUsage
	}
	return bad
}

// printable replaces what must not stand in a log line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

func (c *command) run(stdin io.Reader) error {
	main, err := postfix.Load(c.dir)
	if err != nil {
		return err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return err
	}
	if c.tag == "" {
		c.tag = core.SyslogName + "/postlog"
	}
	sink := Client(core)
	defer sink.Close()
	log := sink.Logger(fmt.Sprintf("%s[%d]", c.tag, os.Getpid()))
	if len(c.text) > 0 {
		c.log(log, strings.Join(c.text, " "))
		return nil
	}
	return c.lines(stdin, log)
}

// lines logs each line of the input. A line of any length is cut by the log.
func (c *command) lines(stdin io.Reader, log *maillog.Logger) error {
	in := bufio.NewReader(stdin)
	for {
		line, more, err := in.ReadLine()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		c.log(log, string(line))
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
	}
}

func (c *command) log(log *maillog.Logger, text string) {
	log.Print(c.level, text)
	if f, ok := c.stderr.(*os.File); ok && isTerminal(f) {
		fmt.Fprintf(c.stderr, "%s: %s%s\n", c.tag, prefixes[c.level], text)
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
