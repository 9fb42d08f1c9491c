package queuetool

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// A command is one run of a tool.
type command struct {
	name   string
	exit   int // status after a fatal error
	stderr io.Writer
}

// fatal says why the command gives up and returns its exit status.
func (c *command) fatal(format string, args ...any) int {
	fmt.Fprintf(c.stderr, c.name+": fatal: "+format+"\n", args...)
	return c.exit
}

func (c *command) warn(format string, args ...any) {
	fmt.Fprintf(c.stderr, c.name+": warning: "+format+"\n", args...)
}

// options parses arguments as getopt(3) does with "+": options may be joined,
// the first argument that is none ends them, as does "--". In spec a colon
// follows the options that have a value. ok is false after a complaint.
func (c *command) options(args []string, spec string, each func(opt byte, value string)) (rest []string, ok bool) {
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
				fmt.Fprintf(c.stderr, "%s: invalid option -- '%c'\n", c.name, opt)
				return nil, false
			}
			value := ""
			if strings.HasPrefix(spec[at+1:], ":") {
				switch {
				case opts != "":
					value, opts = opts, ""
				case len(args) > 0:
					value, args = args[0], args[1:]
				default:
					fmt.Fprintf(c.stderr, "%s: option requires an argument -- '%c'\n", c.name, opt)
					return nil, false
				}
			}
			each(opt, value)
		}
	}
	return args, true
}

// configDirectory is where main.cf is, without -c.
func configDirectory() string {
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" {
		return dir
	}
	return "/etc/postfix"
}

// reason is the text of a system error as strerror(3) has it.
func reason(errno syscall.Errno) string {
	text := []rune(errno.Error())
	if len(text) > 0 {
		text[0] = unicode.ToUpper(text[0])
	}
	return string(text)
}
