package doveadm

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// The usage text has Dovecot's mistake: the option is -d.
var expungeCommand = &command{
	name: "expunge", usage: "[-m] <search query>",
	params: mailParams(flag('d', "delete-empty-mailbox"), arguments("query")),
	mail:   prepareExpunge,
}

func prepareExpunge(in *invocation) (runFunc, error) {
	q, err := in.query()
	if err == nil {
		err = q.careful("expunge")
	}
	if err != nil {
		return nil, err
	}
	deleteEmpty := in.set("delete-empty-mailbox")
	return func(ctx context.Context, u *mailUser) error {
		var empty []string
		err := u.eachBox(ctx, q, func(b *box) error {
			uids, err := b.uids(ctx)
			if err == nil {
				err = b.expunge(ctx, uids)
			}
			if err == nil && deleteEmpty && b.Snapshot().Len() == 0 {
				empty = append(empty, b.name)
			}
			return err
		}, func(name string, err error) {
			u.report(failed(err, "Syncing mailbox '%s' failed", name))
		})
		for _, name := range empty {
			u.report(u.deleteEmpty(ctx, name))
		}
		return err
	}, nil
}

func (b *box) expunge(ctx context.Context, uids []uint32) error {
	return eachBatch(ctx, uids, func(uids []uint32) error {
		if err := b.Expunge(ctx, uids); err != nil {
			return failed(err, "Syncing mailbox '%s' failed", b.name)
		}
		return nil
	})
}

// deleteEmpty deletes a mailbox and its subscription, unless it has got messages
// meanwhile. INBOX stays.
func (u *mailUser) deleteEmpty(ctx context.Context, name string) error {
	b, err := u.openBox(ctx, name)
	if err != nil {
		return failed(err, "Deleting mailbox '%s' failed", name)
	}
	used := b.snap.Len() > 0
	b.Close() //nolint:errcheck // nothing was changed
	if used {
		return nil
	}
	if err := u.Delete(ctx, name); err != nil {
		var refused *store.Error
		if errors.As(err, &refused) && refused.Code == store.CodeAlreadyExists {
			return nil
		}
		return failed(err, "Deleting mailbox '%s' failed", name)
	}
	if err := u.Unsubscribe(ctx, name); err != nil {
		return failed(err, "Unsubscribing mailbox '%s' failed", name)
	}
	return nil
}

// careful refuses a query that would take more mail than was probably meant: one
// with a branch that names no mailbox, or nothing but mailboxes.
func (q *query) careful(command string) error {
	top := []*search.Key{q.root}
	if q.root.Op == search.And && !q.root.Not {
		top = q.root.Keys
	}
	if !q.namesMailbox(top) {
		return fatalf(exUsage, "%s: To avoid accidents, search query must contain MAILBOX in all search branches", command)
	}
	if !q.namesMessages(top) {
		return fatalf(exUsage, "%s: To avoid accidents, each branch in search query must contain something else besides MAILBOX "+
			"(e.g. just add \"all\" if you want everything)", command)
	}
	return nil
}

// namesMailbox reports whether keys of which all must match name a mailbox, or each
// branch of every OR among them does.
func (q *query) namesMailbox(keys []*search.Key) bool {
	or := false
	for _, k := range keys {
		switch {
		case q.boxOf(k) != nil, k.Op == search.And && q.namesMailbox(k.Keys):
			return true
		case k.Op == search.Or:
			or = true
		}
	}
	if !or {
		return false
	}
	for _, k := range keys {
		if k.Op == search.Or && !q.allNameMailbox(k.Keys) {
			return false
		}
	}
	return true
}

// allNameMailbox reports whether each branch of an OR names a mailbox.
func (q *query) allNameMailbox(keys []*search.Key) bool {
	for _, k := range keys {
		switch {
		case q.boxOf(k) != nil:
		case k.Op == search.Or && q.allNameMailbox(k.Keys):
		case k.Op == search.And && q.namesMailbox(k.Keys):
		default:
			return false
		}
	}
	return true
}

// namesMessages reports whether keys of which all must match say more than which
// mailbox.
func (q *query) namesMessages(keys []*search.Key) bool {
	for _, k := range keys {
		switch {
		case q.boxOf(k) != nil:
		case k.Op == search.Or:
			if q.allNameMessages(k.Keys) {
				return true
			}
		case k.Op == search.And:
			if q.namesMessages(k.Keys) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

func (q *query) allNameMessages(keys []*search.Key) bool {
	for _, k := range keys {
		switch {
		case q.boxOf(k) != nil,
			k.Op == search.Or && !q.allNameMessages(k.Keys),
			k.Op == search.And && !q.namesMessages(k.Keys):
			return false
		}
	}
	return true
}
