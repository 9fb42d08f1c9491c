// Package getopt reads the options of commands as getopt(3) does with "+" in front of
// its list: options may be joined, and the first argument that is none ends
// them, as does "--".
package getopt

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A Command is one run of a command, for what it says.
type Command struct {
	Name   string
	Exit   int // status after a fatal error
	Stderr io.Writer
}

// Fatalf says why the command gives up and returns its exit status.
func (c *Command) Fatalf(format string, args ...any) int {
	fmt.Fprintf(c.Stderr, c.Name+": fatal: "+format+"\n", args...)
	return c.Exit
}

// Warnf says what is strange.
func (c *Command) Warnf(format string, args ...any) {
	fmt.Fprintf(c.Stderr, c.Name+": warning: "+format+"\n", args...)
}

// Options takes options off args and calls each for them. In spec a colon follows
// the options that have a value. ok is false after a complaint.
func (c *Command) Options(args []string, spec string, each func(opt byte, value string)) (rest []string, ok bool) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		opts := args[0][1:]
		args = args[1:]
		if opts == "-" {
			break
		}
		for len(opts) > 0 {
			opt := opts[0]
			opts = opts[1:]
			at := strings.IndexByte(spec, opt)
			if at < 0 || opt == ':' {
				fmt.Fprintf(c.Stderr, "%s: invalid option -- '%c'\n", c.Name, opt)
				return nil, false
			}
			if !strings.HasPrefix(spec[at+1:], ":") {
				each(opt, "")
				continue
			}
			value := opts
			if value == "" {
				if len(args) == 0 {
					fmt.Fprintf(c.Stderr, "%s: option requires an argument -- '%c'\n", c.Name, opt)
					return nil, false
				}
				value, args = args[0], args[1:]
			}
			opts = ""
			each(opt, value)
		}
	}
	return args, true
}

// ConfigDirectory is where main.cf is, without option -c.
func ConfigDirectory() string {
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" {
		return dir
	}
	return "/etc/postfix"
}
