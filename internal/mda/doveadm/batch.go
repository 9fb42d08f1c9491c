package doveadm

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

var batchCommand = &command{
	name: "batch", usage: "<sep> <cmd1> [<sep> <cmd2> [..]]", format: "flow",
	params: mailParams(argument("separator"), arguments("args")), ordered: true, ownUsage: true,
}

func init() { batchCommand.mail = prepareBatch } // it looks commands up in the table that it is in

// prepareBatch prepares all commands, before any is run.
func prepareBatch(in *invocation) (runFunc, error) {
	sep, ok := in.text("separator")
	args := in.array("args")
	if !ok || len(args) == 0 {
		return nil, errUsage
	}
	var works []runFunc
	for len(args) > 0 {
		n := slices.Index(args, sep)
		if n < 0 {
			n = len(args)
		}
		if n > 0 {
			work, err := in.prepareBatched(args[:n])
			if err != nil {
				return nil, err
			}
			works = append(works, work)
		}
		args = args[min(n+1, len(args)):]
	}
	return func(ctx context.Context, u *mailUser) error {
		for _, work := range works {
			before := in.log.status
			in.log.status = 0
			err := work(ctx, u)
			failed := err != nil || in.log.status != 0
			in.log.status = max(before, in.log.status)
			if failed {
				return err
			}
		}
		return nil
	}, nil
}

// prepareBatched prepares one of the commands.
func (in *invocation) prepareBatched(args []string) (runFunc, error) {
	cmd, words := in.findCommand(args)
	if cmd == nil || cmd.mail == nil || cmd == batchCommand {
		return nil, fatalf(exUsage, "doveadm batch: '%s' mail command doesn't exist", args[0])
	}
	sub := &invocation{session: in.session, cmd: cmd}
	if err := sub.parse(args[words-1:]); err != nil {
		return nil, err
	}
	for _, name := range []string{"user", "user-file", "all-users", "socket-path"} {
		if sub.set(name) {
			return nil, fatalf(exUsage, "doveadm batch: users are selected before the separator, not for %s", cmd.name)
		}
	}
	work, err := cmd.mail(sub)
	if errors.Is(err, errUsage) {
		fmt.Fprintf(in.stderr, "doveadm %s %s\n", cmd.name, cmd.usageText())
		err = exitStatus(exUsage)
	}
	return work, err
}
