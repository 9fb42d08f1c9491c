package doveadm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/doveconf"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/service"
)

// masterCommands are about the running service and the program itself.
var masterCommands = []*command{
	{name: "config", usage: "[doveconf parameters]", params: []param{arguments("args")}, raw: true, plain: runConfig},
	{name: "help", usage: "[<cmd>]", params: []param{argument("cmd")}, plain: runHelp},
	{name: "log reopen", plain: signalMaster(syscall.SIGUSR1)},
	{name: "reload", plain: signalMaster(syscall.SIGHUP)},
	{name: "stop", plain: signalMaster(syscall.SIGTERM)},
}

func signalMaster(sig syscall.Signal) func(in *invocation) error {
	return func(in *invocation) error {
		if status := service.Control(in.cfg, sig, in.stderr); status != 0 {
			return exitStatus(status)
		}
		return nil
	}
}

// runConfig is doveconf.
func runConfig(in *invocation) error {
	args := append([]string{"-c", in.global.config}, in.array("args")...)
	in.stdout.flush()
	if status := doveconf.Main(args, in.stdin, in.stdout, in.stderr); status != 0 {
		return exitStatus(status)
	}
	return nil
}

// runHelp shows the manual page of a command, or the list of commands.
func runHelp(in *invocation) error {
	name, ok := in.text("cmd")
	if !ok {
		in.usage(nil)
		return exitStatus(exUsage)
	}
	man := exec.Command("man", "doveadm-"+name)
	man.Stdin, man.Stdout, man.Stderr = os.Stdin, os.Stdout, in.stderr
	err := man.Run()
	if exited := (*exec.ExitError)(nil); errors.As(err, &exited) {
		return exitStatus(exited.ExitCode())
	}
	if err != nil {
		return fatalf(exTempFail, "execvp(man) failed: %s", reason(err))
	}
	return nil
}

// loadConfig reads the configuration. What is wrong with it is reported as Dovecot's
// programs do, in the name of doveconf.
func (s *session) loadConfig() error {
	cfg, err := s.readConfig()
	if err != nil {
		return err
	}
	if len(s.global.overrides) == 0 {
		s.cfg = cfg
		return nil
	}
	for _, o := range s.global.overrides {
		if !strings.Contains(o, "=") {
			return fatalf(exTempFail, "Error reading configuration: Invalid -o parameter %s: Missing '='", o)
		}
	}
	s.cfg, err = cfg.Override(s.global.overrides...)
	if err != nil {
		return fatalf(exTempFail, "Error reading configuration: %v", err)
	}
	return nil
}

func (s *session) readConfig() (*dovecot.Config, error) {
	if s.global.noConfig {
		return dovecot.Parse("<defaults>", "")
	}
	path := s.global.config
	if _, err := os.Stat(path); err != nil {
		return nil, fatalf(exTempFail, "Error reading configuration: stat(%s) failed: %s", path, reason(err))
	}
	cfg, err := dovecot.Load(path)
	if cfg == nil || service.Unfinished(err) {
		return nil, s.configFailed(err)
	}
	return cfg, nil
}

// configFailed reports an error of the configuration.
func (s *session) configFailed(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fatalf(exTempFail, "Error reading configuration: open(%s) failed: Permission denied", s.global.config)
	}
	fmt.Fprintf(s.stderr, "doveconf: Fatal: %v\n", err)
	return exitStatus(exFatal)
}

// configError is an error found when settings are used.
func configError(err error) error {
	return fatalf(exTempFail, "Error reading configuration: %v", err)
}

// setInstance selects the configuration of a named instance of the service.
func (s *session) setInstance(name string) error {
	path, ok := doveconf.InstancePath(name)
	if !ok {
		return fatalf(exTempFail, "Unknown instance name: %s", name)
	}
	s.global.config = path
	return nil
}

// systemGroups are the groups that a system user is in.
func systemGroups(name string) ([]int, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	groups := make([]int, 0, len(ids))
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return nil, err
		}
		groups = append(groups, gid)
	}
	return groups, nil
}
