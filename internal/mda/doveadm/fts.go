package doveadm

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// ftsCommands care for full-text indexes.
var ftsCommands = []*command{
	{name: "fts lookup", usage: "<search query>", params: mailParams(arguments("query")), mail: prepareFTSLookup},
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

// prepareFTSLookup shows what a search finds in each mailbox. What the index is not sure of is read, so that there is
// no line "maybe".
func prepareFTSLookup(in *invocation) (runFunc, error) {
	words := in.array("query")
	if len(words) == 0 {
		return nil, errUsage
	}
	q, err := parseQuery(words)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, u *mailUser) error {
		found := func(b *box) error {
			if b.fullText == nil {
				return withStatus(exConfig, "fts not enabled for %s", b.name)
			}
			var uids []uint32
			err := b.each(ctx, func(i int) error {
				uids = append(uids, b.snap.UID(i))
				return nil
			})
			if err != nil {
				return failed(err, "fts lookup failed")
			}
			_, err = fmt.Fprintf(in.stdout, "%s: %s\n", b.name, cmp.Or(uidRanges(uids), "no results"))
			return err
		}
		missing := func(name string, err error) { u.report(failed(err, "fts lookup failed")) }
		return u.eachBox(ctx, q, found, missing)
	}, nil
}

// uidRanges writes ascending numbers as IMAP does: 1:3,5.
func uidRanges(uids []uint32) string {
	var text []byte
	for i := 0; i < len(uids); {
		first := i
		for i++; i < len(uids) && uids[i] == uids[i-1]+1; i++ {
		}
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendUint(text, uint64(uids[first]), 10)
		if i-1 > first {
			text = strconv.AppendUint(append(text, ':'), uint64(uids[i-1]), 10)
		}
	}
	return string(text)
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
