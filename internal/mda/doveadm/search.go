package doveadm

import (
	"context"
	"encoding/hex"
)

// searchCommands find messages and show them.
var searchCommands = []*command{
	{
		name: "search", usage: "<search query>", format: "flow",
		params: mailParams(arguments("query")), mail: prepareSearch,
	},
	{
		name: "fetch", usage: "<fields> <search query>", format: "pager",
		params: mailParams(options(0, "field"), argument("fieldstr"), arguments("query")), mail: prepareFetch,
	},
}

func prepareSearch(in *invocation) (runFunc, error) {
	words := in.array("query")
	if len(words) == 0 {
		return nil, errUsage
	}
	in.column("mailbox-guid", hidden)
	in.column("uid", hidden)
	q, err := parseQuery(words)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, u *mailUser) error {
		found := func(b *box) error {
			id := b.GUID()
			guid := hex.EncodeToString(id[:])
			return b.each(ctx, func(i int) error {
				u.print(guid)
				u.print(itoa(b.snap.UID(i)))
				return nil
			})
		}
		missing := func(name string, err error) {
			u.report(failed(err, "Couldn't get mailbox '%s' GUID", name))
		}
		return u.eachBox(ctx, q, found, missing)
	}, nil
}
