package doveadm

import (
	"os"
	"syscall"
)

var execCommand = &command{
	name: "exec", usage: "<binary> [binary parameters]", params: []param{argument("binary"), arguments("args")}, raw: true,
	plain: runExec,
}

// runExec becomes a program of libexec_dir.
func runExec(in *invocation) error {
	name, ok := in.text("binary")
	if !ok {
		return errUsage
	}
	path := in.cfg.Text("libexec_dir") + "/" + name
	in.stdout.flush()
	err := syscall.Exec(path, append([]string{path}, in.array("args")...), os.Environ())
	return fatalf(exTempFail, "execv(%s) failed: %s", path, reason(err))
}
