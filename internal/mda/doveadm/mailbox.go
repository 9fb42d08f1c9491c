package doveadm

import (
	"context"
	"slices"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// mailboxCommands are about mailboxes as a whole.
var mailboxCommands = []*command{
	{
		name: "mailbox list", usage: "[-7|-8] [-s] [<mailbox mask> [...]]", format: "flow",
		params: mailParams(flag('7', "mutf7"), flag('8', "utf8"), flag('s', "subscriptions"), arguments("mailbox-mask")),
		mail:   prepareMailboxList,
	},
	{
		name: "mailbox status", usage: "<fields> <mailbox> [...]", format: "flow",
		params: mailParams(flag('t', "total-sum"), options('f', "field"), argument("fieldstr"), arguments("mailbox-mask")),
		mail:   prepareMailboxStatus,
	},
	{
		name: "mailbox create", usage: "[-s] [-g <guid>] <mailbox> [...]",
		params: mailParams(flag('s', "subscriptions"), option('g', "guid"), arguments("mailbox")),
		mail:   prepareMailboxCreate,
	},
	{
		name: "mailbox delete", usage: "[-e] [-r] [-s] [-Z] <mailbox> [...]",
		params: mailParams(flag('e', "require-empty"), flag('s', "subscriptions"), flag('r', "recursive"), flag('Z', "unsafe"), arguments("mailbox")),
		mail:   prepareMailboxDelete,
	},
	{
		name: "mailbox rename", usage: "[-s] <old name> <new name>",
		params: mailParams(flag('s', "subscriptions"), argument("mailbox"), argument("new-name")),
		mail:   prepareMailboxRename,
	},
	{
		name: "mailbox subscribe", usage: "<mailbox> [...]",
		params: mailParams(arguments("mailbox")), mail: prepareMailboxSubscribe,
	},
	{
		name: "mailbox unsubscribe", usage: "<mailbox> [...]",
		params: mailParams(arguments("mailbox")), mail: prepareMailboxUnsubscribe,
	},
	{
		name: "mailbox path", usage: "[-t <type>] <mailbox>", format: "flow",
		params: mailParams(arguments("mailbox"), option('t', "type")), mail: prepareMailboxPath,
	},
	mailboxUpdateCommand,
	cacheDecisionCommand, cacheRemoveCommand, cachePurgeCommand,
	{
		name: "mailbox mutf7", usage: "[-7|-8] <name> [...]",
		params: []param{flag('7', "to-utf8"), flag('8', "from-utf8"), arguments("name")}, plain: runMUTF7,
	},
}

// mailboxNames returns the names in the arguments of a command.
func (in *invocation) mailboxNames(names ...string) ([]string, error) {
	for _, name := range names {
		if !utf8.ValidString(name) {
			return nil, fatalf(exNotPossible, "Mailbox name not valid UTF-8: %s", name)
		}
	}
	return names, nil
}

func prepareMailboxList(in *invocation) (runFunc, error) {
	in.column("mailbox", hidden)
	q, err := mailboxQuery(in.array("mailbox-mask"))
	if err != nil {
		return nil, err
	}
	choice := withUnmade | withUnselectable | withForeign
	if in.set("subscriptions") {
		choice |= onlySubscribed
	}
	mutf7 := in.set("mutf7") && !in.set("utf8")
	return func(ctx context.Context, u *mailUser) error {
		names, err := u.mailboxes(ctx, q, choice)
		for _, name := range names {
			if mutf7 {
				name = store.EncodeMUTF7(name)
			}
			u.print(name)
		}
		return err
	}, nil
}

func runMUTF7(in *invocation) error {
	names := in.array("name")
	if len(names) == 0 {
		return errUsage
	}
	decode := in.set("to-utf8") && !in.set("from-utf8")
	for _, name := range names {
		switch out, ok := store.DecodeMUTF7(name); {
		case !decode && utf8.ValidString(name):
			in.stdout.put(store.EncodeMUTF7(name))
		case !decode:
			in.log.report(withStatus(exNotPossible, "Mailbox name not valid UTF-8: %s", name))
		case ok:
			in.stdout.put(out)
		default:
			in.log.report(withStatus(exNotPossible, "Mailbox name not valid mUTF-7: %s", name))
		}
		in.stdout.put("\n")
	}
	return nil
}

// sortedReverse sorts names so that those below others come first.
func sortedReverse(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	slices.Reverse(names)
	return names
}
