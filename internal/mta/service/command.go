package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queuetool"
)

const defaultConfigDirectory = "/etc/postfix"

// A command is a subcommand of postfix(1).
type command struct {
	name string
	run  func(*invocation) int
}

var commands = []command{
	{"start", (*invocation).start},
	{"start-fg", (*invocation).startForeground},
	{"stop", (*invocation).stop},
	{"reload", (*invocation).reload},
	{"abort", (*invocation).abort},
	{"flush", (*invocation).flush},
	{"check", (*invocation).check},
	{"status", (*invocation).status},
	{"set-permissions", (*invocation).setPermissions},
	{"upgrade-configuration", (*invocation).upgradeConfiguration},
	{"logrotate", (*invocation).logrotate},
	{"tls", (*invocation).tls},
}

// invocation is one run of the postfix command.
type invocation struct {
	dir     string
	args    []string // of the subcommand
	core    *postfix.Core
	install *InstallSettings
	stderr  io.Writer
	log     *maillog.Logger
	sink    *maillog.Sink

	checking bool // nothing will start or reload
}

// Command is postfix(1): it runs one subcommand and returns the exit status.
func Command(args []string, stderr io.Writer) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(stderr, "postfix: error: to submit mail, use the Postfix sendmail command")
		fmt.Fprintln(stderr, "postfix: fatal: the postfix command is reserved for the superuser")
		return 1
	}
	dir := os.Getenv("MAIL_CONFIG")
	named := dir != ""
	if !named {
		dir = defaultConfigDirectory
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch opt := args[0]; {
		case opt == "-c" && len(args) > 1:
			dir, named = args[1], true
			args = args[1:]
		case strings.Trim(opt, "-Dv") == "":
		default:
			fmt.Fprintln(stderr, "postfix: fatal: usage: postfix [-c config_dir] [-Dv] command")
			return 1
		}
		args = args[1:]
	}
	if !filepath.IsAbs(dir) {
		fmt.Fprintln(stderr, "postfix: fatal: -c requires absolute pathname")
		return 1
	}
	if len(args) == 0 {
		args = []string{""} // an unknown command
	}
	v := &invocation{dir: dir, args: args[1:], stderr: stderr}
	if err := v.load(); err != nil {
		fmt.Fprintf(stderr, "postfix: fatal: %v\n", err)
		return 1
	}
	defer v.sink.Close()
	if instances := v.wrapped(named); instances != nil {
		return v.runWrapper(instances, args)
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(v)
		}
	}
	return v.fatal(fmt.Sprintf("unknown command: '%s'. Usage: postfix start (or stop, reload, abort, flush, check, status, set-permissions, upgrade-configuration, logrotate)", args[0]))
}

func (v *invocation) load() error {
	main, err := postfix.Load(v.dir)
	if err != nil {
		return err
	}
	if v.core, err = postfix.Get[postfix.Core](main); err != nil {
		return err
	}
	if v.install, err = postfix.Get[InstallSettings](main); err != nil {
		return err
	}
	logs, err := openLogs(v.core)
	if err != nil {
		return err
	}
	if v.sink, err = logs.sink(); err != nil {
		return err
	}
	v.log = maillog.New(v.sink, tag(v.core, "postfix-script"))
	return nil
}

// say logs a message and shows it to an administrator at a terminal.
func (v *invocation) say(level maillog.Level, prefix, text string) {
	v.log.Print(level, text)
	v.show("postfix/postfix-script: " + prefix + text)
}

// show shows a message, besides being logged, to an administrator at a terminal.
func (v *invocation) show(text string) {
	if f, ok := v.stderr.(*os.File); !ok || isTerminal(f) {
		fmt.Fprintln(v.stderr, text)
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (v *invocation) info(text string) { v.say(maillog.Info, "", text) }

func (v *invocation) fatal(text string) int {
	v.say(maillog.Fatal, "fatal: ", text)
	return 1
}

func (v *invocation) start() int {
	if !v.mayStart() {
		return 1
	}
	v.info("starting the Postfix mail system")
	if err := v.spawn(); err != nil {
		v.show("postfix/master: fatal: " + err.Error())
		return v.fatal("mail system startup failed")
	}
	v.inspect()
	return 0
}

// mayStart checks what would keep the service from starting.
func (v *invocation) mayStart() bool {
	if runningPID(v.core) != 0 {
		v.fatal("the Postfix mail system is already running")
		return false
	}
	if !v.verify() {
		v.fatal("Postfix integrity check failed!")
		return false
	}
	return true
}

// spawn starts the master in the background and waits until it serves.
func (v *invocation) spawn() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", "postfix-master", "-c", v.dir)
	cmd.ExtraFiles = []*os.File{w}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil || len(answer) == 0 {
		return errors.New("the master process ended while starting")
	}
	if text, failed := strings.CutPrefix(string(answer), "error: "); failed {
		return errors.New(text)
	}
	return cmd.Process.Release()
}

// Background is the master process that start spawned: it tells the command,
// through descriptor 3, when it serves or why it does not.
func Background(args []string) int {
	pipe := os.NewFile(3, "pipe")
	if len(args) != 2 || args[0] != "-c" {
		return 1
	}
	err := Run(context.Background(), args[1], func() {
		pipe.WriteString("ready") //nolint:errcheck // then the command says that the start failed
		pipe.Close()
	})
	if err != nil {
		pipe.WriteString("error: " + err.Error()) //nolint:errcheck // as above
		return 1
	}
	return 0
}

func (v *invocation) startForeground() int {
	if !v.mayStart() {
		return 1
	}
	v.info("starting the Postfix mail system")
	go v.inspect()
	if err := Run(context.Background(), v.dir, func() {}); err != nil {
		v.show("postfix/master: fatal: " + err.Error())
		return 1
	}
	return 0
}

func (v *invocation) stop() int {
	pid := runningPID(v.core)
	if pid == 0 {
		return v.fatal("the Postfix mail system is not running")
	}
	v.info("stopping the Postfix mail system")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return v.fatal(err.Error())
	}
	for range 3 * stopTimeout / time.Second {
		for range 10 {
			if runningPID(v.core) == 0 {
				return 0
			}
			time.Sleep(100 * time.Millisecond)
		}
		v.info("waiting for the Postfix mail system to terminate")
	}
	v.say(maillog.Warning, "warning: ", "stopping the Postfix mail system with force")
	syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may have ended meanwhile
	return 0
}

func (v *invocation) abort() int {
	pid := runningPID(v.core)
	if pid == 0 {
		return v.fatal("the Postfix mail system is not running")
	}
	v.info("aborting the Postfix mail system")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return v.fatal(err.Error())
	}
	return 0
}

func (v *invocation) reload() int {
	pid := runningPID(v.core)
	if pid == 0 {
		return v.fatal("the Postfix mail system is not running")
	}
	v.info("refreshing the Postfix mail system")
	if !v.verify() {
		return v.fatal("the running configuration stays in force")
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return v.fatal(err.Error())
	}
	return 0
}

func (v *invocation) flush() int {
	return queuetool.Postqueue([]string{"-c", v.dir, "-f"}, os.Stdin, os.Stdout, v.stderr)
}

func (v *invocation) check() int {
	v.checking = true
	ok := v.verify()
	v.inspect()
	if !ok {
		return 1
	}
	return 0
}

func (v *invocation) status() int {
	pid := runningPID(v.core)
	if pid == 0 {
		v.info("the Postfix mail system is not running")
		return 1
	}
	v.info(fmt.Sprintf("the Postfix mail system is running: PID: %d", pid))
	return 0
}
