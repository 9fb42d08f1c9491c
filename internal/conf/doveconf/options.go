package doveconf

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// optionLetters is in getopt's language. The second line is what every program of Dovecot takes.
const optionLetters = "adf:hHm:nNpPexsS" +
	"c:i:ko:OL"

// options is the command line.
type options struct {
	sel       dovecot.Selection
	path      string
	instance  string
	defaults  bool // -d
	bare      bool // -h: values without names
	hosts     bool // -H
	full      bool // -p
	passwords bool // -P
	expand    bool // -x
	flat      bool // -S
	exec      bool // -e: args are a command
	args      []string
}

// parseOptions reads the arguments as getopt(3) does: options may follow other arguments, except
// those of the command that -e runs. The error has the text that getopt prints.
func parseOptions(args []string) (*options, error) {
	o := &options{path: configPath()}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			o.args = append(o.args, arg)
			continue
		}
		rest := arg[1:]
		if strings.HasPrefix(rest, "-") {
			return nil, fmt.Errorf("invalid option -- '-'")
		}
		for rest != "" {
			letter := rest[0]
			rest = rest[1:]
			at := strings.IndexByte(optionLetters, letter)
			if at < 0 || letter == ':' {
				return nil, fmt.Errorf("invalid option -- '%c'", letter)
			}
			value := ""
			if at+1 < len(optionLetters) && optionLetters[at+1] == ':' {
				switch {
				case rest != "":
					value, rest = rest, ""
				case len(args) > 0:
					value, args = args[0], args[1:]
				default:
					return nil, fmt.Errorf("option requires an argument -- '%c'", letter)
				}
			}
			if err := o.set(letter, value); err != nil {
				return nil, err
			}
			if o.exec {
				o.args = args
				return o, nil
			}
		}
	}
	o.args = append(o.args, args...)
	return o, nil
}

// configPath is the main file unless an option names another.
func configPath() string {
	if path := os.Getenv("CONFIG_FILE"); path != "" {
		return path
	}
	return defaultPath
}

const defaultPath = "/etc/dovecot/dovecot.conf"

func (o *options) set(letter byte, value string) error {
	switch letter {
	case 'c':
		o.path = value
	case 'i':
		o.instance = value
	case 'd':
		o.defaults = true
	case 'e':
		o.exec, o.expand = true, true
	case 'f':
		return o.filter(value)
	case 'h':
		o.bare = true
	case 'H':
		o.hosts = true
	case 'm':
		o.sel.Modules = append(o.sel.Modules, value)
	case 'n':
		o.sel.Show = dovecot.ShowChanged
	case 'N':
		o.sel.Show = dovecot.ShowSet
	case 's':
		o.sel.Show = dovecot.ShowHidden
	case 'p':
		o.full = true
	case 'P':
		o.passwords = true
	case 'S':
		o.flat = true
	case 'x':
		o.expand = true
	}
	return nil
}

// A fatalError is reported like those in the configuration.
type fatalError string

func (e fatalError) Error() string { return string(e) }

// filter adds one -f option to the lookup.
func (o *options) filter(arg string) error {
	key, value, _ := strings.Cut(arg, "=")
	f := &o.sel.Filter
	var err error
	switch key {
	case "service", "protocol":
		f.Service = value
	case "lname":
		f.LocalName = value
	case "local":
		f.Local, err = address(value)
	case "remote":
		f.Remote, err = address(value)
	default:
		return fatalError("Unknown filter argument: " + arg)
	}
	if err != nil {
		return fatalError(fmt.Sprintf("%s filter: %v", key, err))
	}
	return nil
}

// address reads what may stand in a filter block; of a network its first
// address is what matters.
func address(s string) (netip.Addr, error) {
	p, err := dovecot.ParseNetwork(s)
	return p.Addr(), err
}
