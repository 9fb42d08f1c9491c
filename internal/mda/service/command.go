package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// defaultConfig is the main configuration file.
const defaultConfig = "/etc/dovecot/dovecot.conf"

// exitFatal is Dovecot's exit status for fatal errors.
const exitFatal = 89

const usage = `usage: dovecot [-F] [-c <config file>] [-p] [-n] [-a] [--help] [--version]
       [--build-options] [--hostdomain] [reload] [stop]`

// options are those of dovecot(8).
type options struct {
	config     string
	foreground bool
	command    string // "", "stop", "reload", "version"
}

func parseOptions(args []string) (options, error) {
	o := options{config: configFromEnvironment()}
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-F":
			o.foreground = true
		case "-c":
			if i++; i == len(args) {
				return o, errors.New("option requires an argument -- 'c'")
			}
			o.config = args[i]
		case "--version":
			o.command = "version"
		case "--help":
			o.command = "help"
		case "stop", "reload":
			o.command = args[i]
		default:
			return o, fmt.Errorf("Unknown argument: %s", args[i])
		}
	}
	return o, nil
}

func configFromEnvironment() string {
	if path := os.Getenv("CONFIG_FILE"); path != "" {
		return path
	}
	return defaultConfig
}

// Command is dovecot(8). It returns the exit status.
func Command(args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintln(stderr, usage)
		fmt.Fprintln(stderr, err)
		return exitFatal
	}
	switch o.command {
	case "version":
		fmt.Fprintln(stdout, dovecot.Version)
		return 0
	case "help":
		fmt.Fprintln(stdout, usage)
		return 0
	case "stop":
		return control(o.config, syscall.SIGTERM, stderr)
	case "reload":
		return control(o.config, syscall.SIGHUP, stderr)
	}
	if o.foreground {
		return report(Run(context.Background(), o.config, func() {}), stderr)
	}
	return report(spawn(o.config), stderr)
}

// report prints why a start failed. Errors of the configuration carry the name
// of the program that read it, as with Dovecot.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	var told startError
	if errors.As(err, &told) {
		io.WriteString(stderr, string(told)) //nolint:errcheck // there is nobody else to tell
		return exitFatal
	}
	var configError *dovecot.Error
	if errors.As(err, &configError) {
		fmt.Fprintf(stderr, "doveconf: Fatal: %v\n", err)
		return exitFatal
	}
	fmt.Fprintf(stderr, "Fatal: %v\n", err)
	return exitFatal
}

// spawn starts the master in the background and waits until it serves.
func spawn(config string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", "dovecot-master", "-c", config)
	cmd.ExtraFiles = []*os.File{w}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return err
	}
	if string(answer) == readyAnswer {
		return cmd.Process.Release()
	}
	cmd.Wait() //nolint:errcheck // it has said why
	return startError(answer)
}

// readyAnswer is what the master in the background tells the command that
// started it, through descriptor 3, when it serves. Anything else is why it does
// not.
const readyAnswer = "ready"

// A startError is the message of a master that did not start.
type startError string

func (e startError) Error() string { return string(e) }

// Background is the master process that spawn started. It keeps nothing of the
// terminal.
func Background(args []string) int {
	if len(args) != 2 || args[0] != "-c" {
		return exitFatal
	}
	pipe := os.NewFile(3, "pipe")
	defer pipe.Close()
	return report(Run(context.Background(), args[1], func() {
		pipe.WriteString(readyAnswer) //nolint:errcheck // then the command says that the start failed
		pipe.Close()
	}), pipe)
}

// Unfinished reports whether a section is not closed. As doveadm has it, that
// is wrong for every command; other checks of the whole file are the master's.
func Unfinished(err error) bool {
	var e *dovecot.Error
	return errors.As(err, &e) && strings.HasPrefix(e.Text, "Missing '}'")
}

// control is [Control] for a configuration file.
func control(config string, sig syscall.Signal, stderr io.Writer) int {
	cfg, err := dovecot.Load(config)
	if cfg == nil || Unfinished(err) {
		return report(err, stderr)
	}
	return Control(cfg, sig, stderr)
}

// Control signals the running master; after a stop it waits for its end, so
// that a script may start it again at once. It returns an exit status.
func Control(cfg *dovecot.Config, sig syscall.Signal, stderr io.Writer) int {
	core, err := dovecot.Get[dovecot.Master](cfg, dovecot.Filter{})
	if err != nil {
		return report(err, stderr)
	}
	pid, err := ReadPID(core.BaseDir)
	if err != nil {
		fmt.Fprintf(stderr, "Fatal: Dovecot is not running (read from %s/master.pid)\n", core.BaseDir)
		return 75 // EX_TEMPFAIL, as Dovecot
	}
	if err := syscall.Kill(pid, sig); err != nil {
		fmt.Fprintf(stderr, "Fatal: kill(%d) failed: %v\n", pid, err)
		return exitFatal
	}
	if sig == syscall.SIGTERM {
		for deadline := time.Now().Add(2 * stopTimeout); syscall.Kill(pid, 0) == nil && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return 0
}
