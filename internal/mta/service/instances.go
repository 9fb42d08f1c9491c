package service

import (
	"errors"
	"os"
	"os/exec"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// wrapped returns the wrapper that runs a command for all instances of the mail
// system, if there are several, and nobody named one.
func (v *invocation) wrapped(named bool) []string {
	if named || v.install.InstanceDirs == "" {
		return nil
	}
	wrapper := postfix.SplitList(v.install.InstanceWrapper)
	if wrapper == nil {
		wrapper = []string{}
	}
	return wrapper
}

// runWrapper hands the command to the wrapper, which runs this command for each
// instance with its name.
func (v *invocation) runWrapper(wrapper, args []string) int {
	if len(wrapper) == 0 {
		return v.fatal("multi-instance support is requested, but multi_instance_wrapper is empty")
	}
	cmd := exec.Command(wrapper[0], append(wrapper[1:], args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, v.stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	}
	return v.fatal("execvp " + wrapper[0] + ": " + err.Error())
}
