package postmulti

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
)

// Settings are the parameters of postmulti(1), besides the core ones.
type Settings struct {
	Directories      string `set:"multi_instance_directories" doc:"configuration directories of the secondary instances"`
	Enable           bool   `set:"multi_instance_enable" default:"no" doc:"whether this instance is started"`
	Name             string `set:"multi_instance_name" doc:"name of this instance"`
	Group            string `set:"multi_instance_group" doc:"group of this instance"`
	Wrapper          string `set:"multi_instance_wrapper" doc:"command that runs postfix(1) for all instances"`
	CommandDirectory string `set:"command_directory" default:"/usr/sbin" nonempty:"yes" doc:"directory with the administrative commands"`
	DaemonDirectory  string `set:"daemon_directory" nonempty:"yes" doc:"directory with the daemon programs"`
	DataDirectory    string `set:"data_directory" nonempty:"yes" doc:"directory of $mail_owner for what is not mail"`
	MetaDirectory    string `set:"meta_directory" nonempty:"yes" doc:"directory with the prototypes of main.cf and master.cf"`
	StartCommands    string `set:"postmulti_start_commands" default:"start" doc:"postfix commands that start instances"`
	StopCommands     string `set:"postmulti_stop_commands" default:"stop abort drain quick-stop" doc:"postfix commands that stop instances"`
	ControlCommands  string `set:"postmulti_control_commands" default:"reload flush" doc:"postfix commands for running instances"`
}

var _ = postfix.Register("postmulti", Settings{})

// defaultDirectory is the configuration of the first instance.
const defaultDirectory = "/etc/postfix"

// A Tool runs another command of this program and returns its exit status.
type Tool func(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int

// An instance is one of the mail systems.
type instance struct {
	dir         string
	name, group string
	enabled     bool
	queueDir    string
	dataDir     string
	primary     bool
}

// command is one run of postmulti(1).
type command struct {
	getopt.Command
	tool   Tool
	stdin  io.Reader
	stdout io.Writer

	set       *Settings
	core      *postfix.Core
	instances []*instance // the first is the primary one

	mode    string // "list", "postfix", "any", or an edit action
	selects string // "", "all", "group", "name"
	which   string // of the group or name
	name    *string
	group   *string
	reverse bool
	args    []string
}

// A failure is why the command gives up; its text is for the administrator.
type failure struct{ text string }

func (e *failure) Error() string { return e.text }

func failf(format string, args ...any) error { return &failure{fmt.Sprintf(format, args...)} }

// Main is postmulti(1).
func Main(tool Tool, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{Command: getopt.Command{Name: "postmulti", Exit: 1, Stderr: stderr}, tool: tool, stdin: stdin, stdout: stdout}
	status, err := c.run(args)
	if err != nil {
		return c.Fatalf("%v", err)
	}
	return status
}

func (c *command) run(args []string) (int, error) {
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" && dir != defaultDirectory {
		return 0, failf("Non-default configuration directory: MAIL_CONFIG=%s", dir)
	}
	main, err := postfix.Load(defaultDirectory)
	if err != nil {
		return 0, err
	}
	if c.set, err = postfix.Get[Settings](main); err != nil {
		return 0, err
	}
	if c.core, err = postfix.Get[postfix.Core](main); err != nil {
		return 0, err
	}
	if err := c.parse(args); err != nil {
		return 0, err
	}
	if err := c.load(); err != nil {
		return 0, err
	}
	switch c.mode {
	case "list":
		return 0, c.list()
	case "postfix":
		return c.postfix()
	case "any":
		return c.iterate(c.args, c.order(c.reverse))
	}
	return c.edit()
}

// actions are what option -e takes.
var actions = []string{"create", "destroy", "import", "deport", "enable", "disable", "assign", "init"}

// parse reads the options and refuses those that do not go together.
func (c *command) parse(args []string) error {
	modes, selections := map[string]bool{}, 0
	var bad error
	rest, ok := c.Options(args, "ae:g:i:G:I:lpRvx", func(opt byte, value string) {
		switch opt {
		case 'a':
			c.selects = "all"
			selections++
		case 'g', 'i':
			c.selects, c.which = map[byte]string{'g': "group", 'i': "name"}[opt], value
			selections++
		case 'e':
			if !slices.Contains(actions, value) {
				bad = failf("Invalid '-e' edit action '%s'. Specify 'create', 'destroy', 'import', 'deport', 'enable', 'disable', 'assign' or 'init'", value)
			}
			c.mode = value
			modes[value] = true
		case 'G', 'I':
			to := map[byte]**string{'G': &c.group, 'I': &c.name}[opt]
			if *to != nil {
				bad = failf("Specify at most one '-%c' option", opt)
			}
			*to = new(string)
			if value != "-" {
				**to = value
			}
		case 'l', 'p', 'x':
			c.mode = map[byte]string{'l': "list", 'p': "postfix", 'x': "any"}[opt]
			modes[c.mode] = true
		case 'R':
			c.reverse = !c.reverse
		}
	})
	c.args = rest
	edits := slices.Contains(actions, c.mode)
	names := c.name != nil || c.group != nil
	switch {
	case !ok:
		return failf("Usage:postmulti -l [-v] [-a] [-g group] [-i instance] | postmulti -p [-v] [-a] [-g group] [-i instance] command... | " +
			"postmulti -x [-v] [-a] [-i name] [-g group] command... | postmulti -e action [-v] [-a] [-i name] [-g group] [-I name] [-G group] [param=value ...]")
	case bad != nil:
		return bad
	case selections > 1:
		return failf("Specity no more than one of '-a', '-g', '-i'")
	case len(modes) != 1:
		return failf("Specify exactly one of '-e', '-l', '-p', '-x'")
	case c.mode == "list" && len(rest) > 0:
		return failf("Command not allowed with '-l'")
	case (c.mode == "postfix" || c.mode == "any") && len(rest) == 0:
		return failf("Command required with '-p' or '-x' option")
	case (c.mode == "postfix" || edits) && c.reverse:
		return failf("The '-p' and '-e' options preclude the use of '-R'")
	case names && !edits:
		return failf("Cannot assign instance name or group without '-e assign'")
	case names && !slices.Contains([]string{"create", "import", "assign"}, c.mode):
		return failf("Cannot assign instance name or group with '-e %s'", c.mode)
	case c.mode == "assign" && !names:
		return failf("Specify new instance name or group with '-e assign'")
	case edits && c.mode != "create" && c.mode != "import" && len(rest) > 0:
		return failf("Parameter overrides not valid with '-e %s'", c.mode)
	}
	return nil
}

// load reads the configuration of each instance. A single one is always enabled.
func (c *command) load() error {
	primary := &instance{
		dir: defaultDirectory, name: c.set.Name, group: c.set.Group, enabled: c.set.Enable,
		queueDir: c.core.QueueDirectory, dataDir: c.set.DataDirectory, primary: true,
	}
	c.instances = []*instance{primary}
	for _, dir := range postfix.SplitList(c.set.Directories) {
		in, err := loadInstance(dir)
		if err != nil {
			return err
		}
		c.instances = append(c.instances, in)
	}
	if len(c.instances) == 1 {
		primary.enabled = true
	}
	return nil
}

func loadInstance(dir string) (*instance, error) {
	main, err := postfix.Load(dir)
	if err != nil {
		return nil, failf("Cannot parse %s/main.cf file: %v", dir, err)
	}
	set, err := postfix.Get[Settings](main)
	if err != nil {
		return nil, err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return nil, err
	}
	return &instance{dir: dir, name: set.Name, group: set.Group, enabled: set.Enable, queueDir: core.QueueDirectory, dataDir: set.DataDirectory}, nil
}

// selected tells whether an instance is meant. Names may lack the prefix "postfix-".
func (c *command) selected(in *instance) bool {
	switch c.selects {
	case "group":
		return in.group != "" && in.group == c.which
	case "name":
		name := in.name
		if strings.HasPrefix(c.which, "/") || name == "" {
			name = in.dir
		} else if !strings.HasPrefix(c.which, namePrefix) {
			name = strings.TrimPrefix(name, namePrefix)
		}
		return name == c.which || in.primary && c.which == "-"
	}
	return true
}

// namePrefix begins the names of instances, so that they are seen in the log.
const namePrefix = "postfix-"

// order returns the instances, the other way round on request.
func (c *command) order(reverse bool) []*instance {
	all := slices.Clone(c.instances)
	if reverse {
		slices.Reverse(all)
	}
	return all
}

func (c *command) list() error {
	for _, in := range c.order(c.reverse) {
		if !c.selected(in) {
			continue
		}
		enabled := "n"
		if in.enabled {
			enabled = "y"
		}
		if _, err := fmt.Fprintf(c.stdout, "%-15s %-15s %-9s %s\n", orDash(in.name), orDash(in.group), enabled, in.dir); err != nil {
			return failf("error writing output: %v", err)
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// postfix runs a postfix command for the instances: disabled ones are neither
// started nor controlled.
func (c *command) postfix() (int, error) {
	path := filepath.Join(c.set.CommandDirectory, "postfix")
	is := func(list string) bool { return slices.Contains(postfix.SplitList(list), c.args[0]) }
	starts := is(c.set.StartCommands)
	stops := !starts && is(c.set.StopCommands)
	skip := stops || !starts && is(c.set.ControlCommands)
	return c.each(c.order(stops), func(in *instance) []string {
		switch {
		case skip && !in.enabled:
			return nil
		case starts && !in.enabled:
			return append([]string{path, "--", "check"}, c.args[1:]...)
		}
		return append([]string{path, "--"}, c.args...)
	}, false)
}

// iterate runs a command for the instances.
func (c *command) iterate(args []string, instances []*instance) (int, error) {
	return c.each(instances, func(*instance) []string { return args }, true)
}

// each runs what args returns for each instance selected. The status is 1 if one
// fails.
func (c *command) each(instances []*instance, args func(*instance) []string, all bool) (status int, err error) {
	matched := false
	for _, in := range instances {
		argv := args(in)
		if argv == nil || !c.selected(in) {
			continue
		}
		matched = true
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = c.environment(in, all)
		if all && !strings.Contains(argv[0], "/") {
			cmd = c.lookUp(cmd, argv)
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, c.stdout, c.Stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			c.Fatalf("execvp %s: %v", argv[0], err)
		}
		if err != nil {
			status = 1
		}
	}
	if !matched {
		return 0, failf("No matching instances")
	}
	return status, nil
}

// lookUp finds a command in command_directory first.
func (c *command) lookUp(cmd *exec.Cmd, argv []string) *exec.Cmd {
	path := filepath.Join(c.set.CommandDirectory, argv[0])
	if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
		return cmd
	}
	found := exec.Command(path, argv[1:]...)
	found.Env = cmd.Env
	return found
}

// environment tells a command which instance it is for.
func (c *command) environment(in *instance, all bool) []string {
	env := append(os.Environ(), "MAIL_CONFIG="+in.dir)
	if !all {
		return env
	}
	enabled := "no"
	if in.enabled {
		enabled = "yes"
	}
	return append(env, "daemon_directory="+c.set.DaemonDirectory, "command_directory="+c.set.CommandDirectory, "config_directory="+in.dir,
		"queue_directory="+in.queueDir, "data_directory="+in.dataDir, "multi_instance_name="+in.name, "multi_instance_group="+in.group,
		"multi_instance_enable="+enabled, "PATH="+c.set.CommandDirectory+":"+os.Getenv("PATH"))
}
