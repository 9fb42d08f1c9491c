package doveadm

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// fsck is accepted: what it asks for is always done.
var forceResyncCommand = &command{
	name: "force-resync", usage: "[-f] <mailbox mask>",
	params: mailParams(flag('f', "fsck"), argument("mailbox-mask")),
	mail: func(in *invocation) (runFunc, error) {
		mask, ok := in.text("mailbox-mask")
		if !ok {
			return nil, errUsage
		}
		return func(ctx context.Context, u *mailUser) error {
			return u.eachListed(ctx, mask, func(name string) error {
				if err := u.ForceResync(ctx, name); err != nil {
					return failed(err, "Forcing a resync on mailbox %s failed", name)
				}
				return nil
			})
		}, nil
	},
}

// eachListed calls fn with the names that match a pattern of LIST and are those
// of mailboxes. An error is reported, and the other mailboxes follow.
func (u *mailUser) eachListed(ctx context.Context, mask string, fn func(name string) error) error {
	list, err := u.List(ctx, store.ListQuery{Patterns: []string{mask}})
	if err != nil {
		return failed(err, "Listing mailboxes failed")
	}
	for i := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		ok, err := u.chosen(ctx, &list[i], withForeign)
		if err != nil {
			return failed(err, "Listing mailboxes failed")
		}
		if !ok {
			continue
		}
		if err := fn(list[i].Name); fatalOf(err) != nil {
			return err
		} else if err != nil {
			u.report(err)
		}
	}
	return nil
}
