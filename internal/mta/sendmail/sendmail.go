package sendmail

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/postlog"
)

// Settings are the parameters of sendmail(1), besides the core ones.
type Settings struct {
	FixLineEndings    string `set:"sendmail_fix_line_endings" default:"always" nonempty:"yes" doc:"which CRLF line ends are made LF: always, strict, never"`
	VERPDelimiters    string `set:"default_verp_delimiters" default:"+=" min:"2" doc:"delimiters of sendmail -XV"`
	VERPFilter        string `set:"verp_delimiter_filter" default:"-=+" nonempty:"yes" doc:"characters that may be VERP delimiters"`
	CommandDirectory  string `set:"command_directory" default:"/usr/sbin" nonempty:"yes" doc:"where postdrop is"`
	Banner            string `set:"smtpd_banner" default:"$myhostname ESMTP $mail_name" nonempty:"yes" doc:"greeting of sendmail -bs"`
	LineLengthLimit   int    `set:"line_length_limit" default:"2048" min:"512" doc:"longest record of a message"`
	AliasDatabase     string `set:"alias_database" default:"hash:/etc/aliases" doc:"tables that newaliases rebuilds"`
	ExportEnvironment string `set:"export_environment" default:"TZ MAIL_CONFIG LANG" doc:"environment of other programs"`
}

var _ = postfix.Register("sendmail", Settings{})

// exitTempFail is the status of everything that fails: EX_TEMPFAIL of sysexits(3).
const exitTempFail = 75

// A Tool runs another command of this program and returns its exit status.
type Tool func(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int

// command is one run of sendmail(1).
type command struct {
	name   string // under which it was called
	tool   Tool
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	dir  string // configuration
	main *postfix.Main
	core *postfix.Core
	set  *Settings
	log  *maillog.Logger
	opt  options
}

// A fatalError is why nothing is done; its text is for the user.
type fatalError struct{ text string }

func (e *fatalError) Error() string { return e.text }

func fatalf(format string, args ...any) error { return &fatalError{fmt.Sprintf(format, args...)} }

// errQuiet ends the command with a failure that has been reported.
var errQuiet = errors.New("reported")

// Main is sendmail(1), also by its names mailq and newaliases.
func Main(name string, tool Tool, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{name: name, tool: tool, stdin: stdin, stdout: stdout, stderr: stderr}
	status, err := c.run(args)
	if err == nil {
		return status
	}
	if !errors.Is(err, errQuiet) {
		c.say(maillog.Fatal, "fatal: ", err.Error())
	}
	return exitTempFail
}

// say writes a message to the user and to the log.
func (c *command) say(level maillog.Level, prefix, text string) {
	fmt.Fprintf(c.stderr, "%s: %s%s\n", c.name, prefix, text)
	if c.log != nil {
		c.log.Print(level, text)
	}
}

func (c *command) warnf(format string, args ...any) {
	c.say(maillog.Warning, "warning: ", fmt.Sprintf(format, args...))
}

// run loads the configuration that the options name and does what they ask.
func (c *command) run(args []string) (int, error) {
	c.dir = configDirectory(args)
	main, err := postfix.Load(c.dir)
	if err != nil {
		return 0, err
	}
	c.main = main
	if c.core, err = postfix.Get[postfix.Core](main); err != nil {
		return 0, err
	}
	if c.set, err = postfix.Get[Settings](main); err != nil {
		return 0, err
	}
	sink := postlog.Client(c.core)
	defer sink.Close()
	c.log = sink.Logger(fmt.Sprintf("%s/sendmail[%d]", c.core.SyslogName, os.Getpid()))
	c.opt = options{mode: modes[c.name], context: "local", dotEnds: true}
	if err := c.parse(args); err != nil {
		return 0, err
	}
	if err := c.conflicts(); err != nil {
		return 0, err
	}
	if c.opt.every && c.opt.mode != daemon {
		return 0, nil
	}
	return runs[c.opt.mode](c)
}

// configDirectory is where main.cf is: as option -C says, or the environment.
func configDirectory(args []string) string {
	dir := os.Getenv("MAIL_CONFIG")
	if dir == "" {
		dir = "/etc/postfix"
	}
	scanner := scanner{args: args}
	for {
		opt, value, err := scanner.next()
		if err != nil || opt == 0 {
			return dir
		}
		if opt == 'C' {
			if dir = value; filepath.Base(value) == "main.cf" {
				dir = filepath.Dir(value)
			}
		}
	}
}

// A mode is what the command is to do.
type mode int

const (
	enqueue mode = iota
	newaliases
	mailq
	daemon
	standAlone
	flush
	ignore
)

// modes are those of the names of the command.
var modes = map[string]mode{"mailq": mailq, "newaliases": newaliases, "smtpd": daemon}

var runs = map[mode]func(*command) (int, error){
	enqueue: (*command).enqueueMode, newaliases: (*command).newaliases, mailq: (*command).mailq,
	daemon: (*command).daemon, standAlone: (*command).standAlone, flush: (*command).flush,
	ignore: func(*command) (int, error) { return 0, nil },
}

func (c *command) enqueueMode() (int, error) {
	switch {
	case c.opt.site != "":
		if len(c.opt.recipients) > 0 {
			return 0, fatalf("flush site requires no recipient")
		}
		return c.postqueue("-s", c.opt.site), nil
	case c.opt.id != "":
		if len(c.opt.recipients) > 0 {
			return 0, fatalf("flush queue_id requires no recipient")
		}
		return c.postqueue("-i", c.opt.id), nil
	}
	return 0, c.enqueue()
}

func (c *command) mailq() (int, error) {
	if len(c.opt.recipients) > 0 {
		return 0, fatalf("display queue mode requires no recipient")
	}
	return c.postqueue("-p"), nil
}

func (c *command) flush() (int, error) {
	if len(c.opt.recipients) > 0 {
		return 0, fatalf("flush queue mode requires no recipient")
	}
	return c.postqueue("-f"), nil
}

func (c *command) postqueue(args ...string) int {
	args = append([]string{"-c", c.dir}, args...)
	// Where postqueue has the group of the queue tools, users need that.
	if path := filepath.Join(c.set.CommandDirectory, "postqueue"); os.Geteuid() != 0 {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSetgid != 0 {
			return c.replace(path, append([]string{"postqueue"}, args...))
		}
	}
	return c.tool("postqueue", args, c.stdin, c.stdout, c.stderr)
}

func (c *command) daemon() (int, error) {
	if len(c.opt.recipients) > 0 {
		return 0, fatalf("daemon mode requires no recipient")
	}
	return c.tool("postfix", []string{"-c", c.dir, "start"}, c.stdin, c.stdout, c.stderr), nil
}

func (c *command) newaliases() (int, error) {
	if len(c.opt.recipients) > 0 {
		return 0, fatalf("alias initialization mode requires no recipient")
	}
	tables := postfix.SplitList(c.set.AliasDatabase)
	if c.opt.aliases != "" {
		tables = []string{c.opt.aliases}
	}
	if len(tables) == 0 {
		return 0, nil
	}
	return c.tool("postalias", append([]string{"-c", c.dir, "--"}, tables...), c.stdin, c.stdout, c.stderr), nil
}
