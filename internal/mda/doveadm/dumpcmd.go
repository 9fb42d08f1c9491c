package doveadm

import "github.com/dovetail-mail/dovetail/internal/mda/doveadm/dump"

var dumpCommand = &command{
	name: "dump", usage: "[-t <type>] <path> [<type-specific args>]", params: []param{arguments("args")}, raw: true,
	plain: func(in *invocation) error {
		in.stdout.flush()
		if status := dump.Main(in.array("args"), in.stdout, in.stderr); status != 0 {
			return exitStatus(status)
		}
		return nil
	},
}
