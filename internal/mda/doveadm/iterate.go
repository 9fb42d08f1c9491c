package doveadm

import (
	"context"
	"errors"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// boxChoice says which mailboxes are gone through, besides what the query says.
type boxChoice uint8

const (
	withUnmade       boxChoice = 1 << iota // also those with auto= that are not there yet
	withUnselectable                       // also names that only have others below them
	withForeign                            // also those of shared and public namespaces
	onlySubscribed
)

// mailboxes returns the names of the mailboxes that the query can match. Those it
// names without wildcards need not exist.
func (u *mailUser) mailboxes(ctx context.Context, q *query, choice boxChoice) ([]string, error) {
	patterns, wild := q.patterns, false
	for _, p := range patterns {
		wild = wild || isPattern(p)
	}
	if len(patterns) > 0 && !wild {
		return patterns, nil
	}
	if wild || q.byGUID {
		choice |= withForeign
	}
	lq := store.ListQuery{Patterns: patterns}
	if !wild {
		lq.Patterns = []string{"*"}
	}
	if choice&onlySubscribed != 0 {
		lq.Select = store.SelectSubscribed
	}
	list, err := u.List(ctx, lq)
	if err != nil {
		return nil, failed(err, "Listing mailboxes failed")
	}
	var names []string
	for i := range list {
		ok, err := u.chosen(ctx, &list[i], choice)
		if err != nil {
			return nil, failed(err, "Listing mailboxes failed")
		}
		if ok && q.mayMatch(list[i].Name, list[i].Sep) {
			names = append(names, list[i].Name)
		}
	}
	return names, nil
}

// chosen reports whether a listed mailbox is one of the choice.
func (u *mailUser) chosen(ctx context.Context, e *store.ListEntry, choice boxChoice) (bool, error) {
	ns, ok := u.Namespace(e.Name)
	switch {
	case choice&withForeign == 0 && ok && ns.Type != store.Private:
		return false, nil
	case choice&withUnselectable == 0 && e.Flags&(store.FlagNoSelect|store.FlagNonExistent) != 0:
		return false, nil
	case choice&withUnmade != 0 || !ok || e.Name == "INBOX":
		return true, nil
	}
	if box := ns.Setting(e.Name); box == nil || box.Auto == "no" {
		return true, nil
	}
	return u.OnDisk(ctx, e.Name)
}

// mayMatch reports whether some message of the mailbox could match, as far as the
// name tells.
func (q *query) mayMatch(name string, sep byte) bool {
	return q.possible(q.root, name, sep) != never
}

// A possibility is what the name of a mailbox says about a key.
type possibility uint8

const (
	never possibility = iota
	maybe
	always
)

func (q *query) possible(k *search.Key, name string, sep byte) possibility {
	p := maybe
	if b := q.boxOf(k); b != nil {
		if b.kind >= boxGUID {
			return maybe
		}
		if b.is(name, sep, [16]byte{}) {
			return always
		}
		return never
	}
	switch k.Op {
	case search.All:
		p = always
	case search.And:
		p = always
		for _, sub := range k.Keys {
			p = min(p, q.possible(sub, name, sep))
		}
	case search.Or:
		p = never
		for _, sub := range k.Keys {
			p = max(p, q.possible(sub, name, sep))
		}
	}
	if k.Not {
		return always - p
	}
	return p
}

// A box is an open mailbox that a query goes through.
type box struct {
	*mailbox.Mailbox
	name string
	snap *mailbox.Snapshot
	q    *query

	fullText *search.FullText
}

// openBox opens a mailbox and looks for changes.
func (u *mailUser) openBox(ctx context.Context, name string) (*box, error) {
	m, err := u.Mailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	snap, err := m.Sync(ctx)
	if err != nil {
		m.Close() //nolint:errcheck // the first error tells more
		return nil, err
	}
	return &box{Mailbox: m, name: name, snap: snap, fullText: u.FullText(m)}, nil
}

// eachBox calls fn with every mailbox that the query can match, open and bound to
// the query. Mailboxes that are named and do not exist go to missing, if that is
// not nil. An error is reported, and the other mailboxes follow.
func (u *mailUser) eachBox(ctx context.Context, q *query, fn func(*box) error, missing func(name string, err error)) error {
	names, err := u.mailboxes(ctx, q, 0)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := u.withBox(ctx, q, name, fn)
		switch {
		case err == nil:
		case fatalOf(err) != nil:
			return err
		case errors.Is(err, errMissing):
			if missing != nil {
				missing(name, errors.Unwrap(err))
			}
		default:
			u.report(err)
		}
	}
	return nil
}

// errMissing is about a mailbox that does not exist.
var errMissing = errors.New("mailbox is missing")

type missingBox struct{ error }

func (e missingBox) Is(target error) bool { return target == errMissing }

func (e missingBox) Unwrap() error { return e.error }

func (u *mailUser) withBox(ctx context.Context, q *query, name string, fn func(*box) error) error {
	b, err := u.openBox(ctx, name)
	switch {
	case err != nil && statusOf(err) == exNotFound:
		return missingBox{err}
	case err != nil:
		return failed(err, "Syncing mailbox %s failed", name)
	}
	defer b.Close() //nolint:errcheck // nothing is written at the end
	sep := byte('/')
	if ns, ok := u.Namespace(name); ok {
		sep = ns.Sep
	}
	b.q = q
	q.bind(name, sep, b.GUID(), b.Location().Format)
	return fn(b)
}

// each calls fn with the number of each message that matches, as it is found.
func (b *box) each(ctx context.Context, fn func(i int) error) error {
	env := &search.Env{Now: time.Now(), FirstRecent: b.snap.FirstRecent(), Mailbox: b.name, OldestOnly: b.q.oldestOnly, FullText: b.fullText}
	var stopped error
	err := search.Each(ctx, b.Mailbox, b.snap, b.q.root, env, func(i int) error {
		stopped = fn(i)
		return stopped
	})
	if err != nil && stopped == nil {
		return failed(err, "Searching mailbox %s failed", b.name)
	}
	return err
}

// uids returns the UIDs of the messages that match.
func (b *box) uids(ctx context.Context) ([]uint32, error) {
	var uids []uint32
	err := b.each(ctx, func(i int) error {
		uids = append(uids, b.snap.UID(i))
		return nil
	})
	return uids, err
}
