package doveadm

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A command is one row of the table of commands.
type command struct {
	name   string // "mailbox list"
	usage  string // what comes after the name; without the options of all mail commands
	format string // the formatter if -f names none; "" if the command prints no columns
	params []param

	// One of these. plain is for commands that are not about mail. mail checks the
	// arguments and declares columns, and returns what is done for each user.
	plain func(in *invocation) error
	mail  func(in *invocation) (runFunc, error)

	ordered bool // options end at the first argument
	raw     bool // nothing is an option

	ownUsage bool // the usage of a mail command is all that is said
}

// A runFunc does a mail command's work for one user, as that user.
type runFunc func(ctx context.Context, u *mailUser) error

// A kind is what a parameter takes.
type kind uint8

const (
	kindFlag  kind = iota // nothing
	kindText              // one value, the last counts
	kindArray             // all values
)

// A param is an option of a command, or an argument. Each has a long name by which
// it can be given as an option too, as in Dovecot.
type param struct {
	letter     byte // 0 for none
	name       string
	kind       kind
	positional bool
}

// flag is an option without value.
func flag(letter byte, name string) param { return param{letter: letter, name: name} }

// option is an option with a value.
func option(letter byte, name string) param { return param{letter: letter, name: name, kind: kindText} }

// options is an option with a value that may be repeated.
func options(letter byte, name string) param {
	return param{letter: letter, name: name, kind: kindArray}
}

// argument takes one argument.
func argument(name string) param { return param{name: name, kind: kindText, positional: true} }

// arguments takes all arguments that are left.
func arguments(name string) param { return param{name: name, kind: kindArray, positional: true} }

// mailParams are the parameters of a mail command: those that all have, and more.
func mailParams(more ...param) []param {
	return append([]param{
		flag('A', "all-users"), option('S', "socket-path"), option('u', "user"),
		option(0, "trans-flags"), option('F', "user-file"),
	}, more...)
}

const mailUsage = "[-u <user>|-A] [-S <socket_path>] "

// usageText is what the usage of the command says after its name.
func (c *command) usageText() string {
	if c.mail != nil && !c.ownUsage {
		return mailUsage + c.usage
	}
	return c.usage
}

// An invocation is a command with its arguments, while it runs.
type invocation struct {
	*session
	cmd    *command
	values map[string][]string
	sends  func() (io.ReadCloser, error) // opens the text that goes with the command, if there is one
}

// A session is what all that a run of the program does has in common.
type session struct {
	cfg      *dovecot.Config
	commands []*command // there are
	global   globalOptions
	stdin    io.Reader
	stdout   *output
	stderr   io.Writer
	print    *printer // nil if nothing that has columns is printed
	log      *messages
	client   *remoteClient // for whom a server runs the command; nil if this is none
}

// set reports whether the option was given.
func (in *invocation) set(name string) bool { return len(in.values[name]) > 0 }

// text returns the value of an option or argument, the last one given.
func (in *invocation) text(name string) (string, bool) {
	if v := in.values[name]; len(v) > 0 {
		return v[len(v)-1], true
	}
	return "", false
}

// array returns all values of an option or argument.
func (in *invocation) array(name string) []string { return in.values[name] }

// column declares a column whose title is its key.
func (in *invocation) column(key string, flags columnFlags) { in.titled(key, key, flags) }

// titled declares a column.
func (in *invocation) titled(key, title string, flags columnFlags) {
	if in.print != nil {
		in.print.column(column{key: key, title: title, flags: flags})
	}
}

// findCommand finds the row whose name the first arguments are, and returns how
// many of them that takes.
func (s *session) findCommand(args []string) (*command, int) {
	for _, c := range s.commands {
		words := strings.Split(c.name, " ")
		if len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			return c, len(words)
		}
		if len(args) > 0 && args[0] == c.name { // the name as one argument
			return c, 1
		}
	}
	return nil, 0
}

// allCommands are the commands there are.
func allCommands() []*command {
	return slices.Concat(masterCommands, accountCommands, loginCommands, sessionCommands, proxyCommands, passwordCommands, mailboxCommands, metadataCommands, searchCommands, changingCommands, aclCommands, quotaCommands, ftsCommands)
}
