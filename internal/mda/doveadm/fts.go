package doveadm

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// ftsCommands care for full-text indexes.
var ftsCommands = []*command{
	{
		name: "fts rescan", usage: "[<namespace>]", params: mailParams(argument("namespace")),
		mail: func(in *invocation) (runFunc, error) {
			return in.eachIndexed(func(_ context.Context, b *box) error { return b.fullText.Rescan(b.Mailbox) })
		},
	},
	{
		name: "fts optimize", usage: "[<namespace>]", params: mailParams(argument("namespace")),
		mail: func(in *invocation) (runFunc, error) {
			return in.eachIndexed(func(ctx context.Context, b *box) error { return b.fullText.Optimize(ctx, b.Mailbox) })
		},
	},
}

// eachIndexed calls fn with the mailboxes of the namespace that the command names, or else of the one
// that has INBOX.
func (in *invocation) eachIndexed(fn func(context.Context, *box) error) (runFunc, error) {
	prefix, named := in.text("namespace")
	return func(ctx context.Context, u *mailUser) error {
		ns := u.ftsNamespace(prefix, named)
		switch {
		case ns == nil:
			return withStatus(exNotFound, "Namespace prefix not found: %s", prefix)
		case !u.HasFullText():
			if !named {
				prefix = "INBOX"
			}
			return withStatus(exNotFound, "fts not enabled for user's namespace %s", prefix)
		}
		return u.eachListed(ctx, ns.Prefix+"*", func(name string) error {
			if own, _ := u.Namespace(name); own != ns {
				return nil
			}
			b, err := u.openBox(ctx, name)
			if err != nil {
				return failed(err, "Syncing mailbox %s failed", name)
			}
			defer b.Close() //nolint:errcheck // nothing was written
			if b.fullText == nil {
				return nil
			}
			if err := fn(ctx, b); err != nil {
				return failed(err, "Mailbox %s: %s failed", name, in.cmd.name)
			}
			return nil
		})
	}, nil
}

// ftsNamespace returns the namespace with the prefix, or that of INBOX; nil if there is none.
func (u *mailUser) ftsNamespace(prefix string, named bool) *store.Namespace {
	for _, ns := range u.Namespaces() {
		if named && ns.Prefix == prefix || !named && ns.Inbox {
			return ns
		}
	}
	return nil
}
