package store

import (
	"context"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/quota"
)

// A quotaAccount is what the sessions and deliveries of one user have promised each other: what was
// found to fit and is being saved counts already. It is locked while usage is looked at.
type quotaAccount struct {
	username string
	users    int // sessions; guarded by the registry

	mu      sync.Mutex
	settled sync.Cond // something was saved, or is not going to be
	roots   map[string]*quotaPending
}

// quotaPending is what is being saved that counts in one root.
type quotaPending struct {
	sum    quota.Usage
	saves  int
	warned quota.Usage // the usage up to which warnings were given, while saves is not 0
}

// quotaAccounts are those in use, by user name.
var quotaAccounts = quotaRegistry{accounts: map[string]*quotaAccount{}}

type quotaRegistry struct {
	mu       sync.Mutex
	accounts map[string]*quotaAccount
}

func (r *quotaRegistry) take(username string) *quotaAccount {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.accounts[username]
	if a == nil {
		a = &quotaAccount{username: username, roots: map[string]*quotaPending{}}
		a.settled.L = &a.mu
		r.accounts[username] = a
	}
	a.users++
	return a
}

func (r *quotaRegistry) release(a *quotaAccount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.users--; a.users == 0 {
		delete(r.accounts, a.username)
	}
}

// pending returns what is being saved in a root. The account is locked.
func (a *quotaAccount) pending(r *quotaRoot) *quotaPending {
	p := a.roots[r.Setting]
	if p == nil {
		p = &quotaPending{}
		a.roots[r.Setting] = p
	}
	return p
}

// A boxQuota is [mailbox.Quota] for one mailbox.
type boxQuota struct {
	q     *userQuota
	ns    *Namespace
	grace bool // mail from outside
	roots []boxRoot
}

// A boxRoot is a root in which a mailbox counts, under a name.
type boxRoot struct {
	*quotaRoot
	name string
}

var _ mailbox.Quota = (*boxQuota)(nil)

// Virtual implements [mailbox.Quota].
func (b *boxQuota) Virtual() bool { return b.q.virtual }

// Reserve implements [mailbox.Quota].
func (b *boxQuota) Reserve(ctx context.Context, sizes []int64, from mailbox.Quota) (settle func(added bool), err error) {
	ctx = context.WithoutCancel(ctx) // messages that were added are noted
	enforce := b.grows(from)
	sum := quota.Usage{Messages: int64(len(sizes))}
	for _, size := range sizes {
		if enforce && b.q.maxMail > 0 && size > b.q.maxMail {
			return nil, &Error{Code: CodeLimit, Text: mailTooLarge}
		}
		sum.Bytes += size
	}
	if len(b.roots) == 0 {
		return func(bool) {}, nil
	}
	a := b.q.account
	a.mu.Lock()
	defer a.mu.Unlock()
	for emptied := 0; ; {
		fits, wait := b.fit(ctx, sizes, enforce)
		if fits {
			break
		}
		if wait {
			a.settled.Wait()
			continue
		}
		if emptied++; emptied > maxEmptied || !b.makeRoom(ctx, sum) {
			return nil, b.q.full()
		}
	}
	for _, r := range b.roots {
		p := a.pending(r.quotaRoot)
		p.sum = p.sum.Plus(sum)
		p.saves++
	}
	return func(added bool) { b.settle(ctx, sum, added) }, nil
}

// makeRoom has the trash make room for messages, and reports whether it did. The account, which is locked, is not
// meanwhile.
func (b *boxQuota) makeRoom(ctx context.Context, sum quota.Usage) bool {
	if b.q.u.trash == nil {
		return false
	}
	var need quota.Usage
	for _, r := range b.roots {
		used, base, err := r.backend.usage(ctx)
		if err != nil || r.NoEnforcing {
			continue
		}
		limit := r.Limits(r.name, base)
		over := used.Plus(sum).Minus(quota.Usage(limit))
		if limit.Bytes > 0 {
			need.Bytes = max(need.Bytes, over.Bytes)
		}
		if limit.Messages > 0 {
			need.Messages = max(need.Messages, over.Messages)
		}
		if limit.Bytes > 0 && sum.Bytes > limit.Bytes || limit.Messages > 0 && sum.Messages > limit.Messages {
			return false // not even all of it would be enough
		}
	}
	b.q.account.mu.Unlock()
	defer b.q.account.mu.Lock()
	return b.q.u.trash.makeRoom(ctx, need)
}

// full is the error of what does not fit.
func (q *userQuota) full() error { return &Error{Code: CodeOverQuota, Text: q.exceeded} }

// grows reports whether messages that come out of a mailbox with a quota increase any usage here.
func (b *boxQuota) grows(from mailbox.Quota) bool {
	src, ok := from.(*boxQuota)
	if !ok {
		return true
	}
	for _, r := range b.roots {
		if !r.covers(src.ns) || src.q.account != b.q.account {
			return true
		}
	}
	return false
}

// fit reports whether messages fit into all roots, or might once what others are saving is settled.
func (b *boxQuota) fit(ctx context.Context, sizes []int64, enforce bool) (fits, wait bool) {
	fits = true
	for _, r := range b.roots {
		p := b.q.account.pending(r.quotaRoot)
		limited := enforce && !r.NoEnforcing
		if !limited && (!r.Warns() || p.saves > 0) {
			continue
		}
		used, base, err := r.backend.usage(ctx)
		if err != nil {
			b.q.u.log.Errorf("quota: Failed to check if user is under quota: quota-%s: %v - saving mail anyway", r.Backend, err)
			continue
		}
		if p.saves == 0 {
			p.warned = used
		}
		if !limited {
			continue
		}
		limit, grace := r.Limits(r.name, base), int64(0)
		if b.grace {
			grace = r.Grace(base)
		}
		if !limit.Fits(used.Plus(p.sum), sizes, grace) {
			if !limit.Fits(used, sizes, grace) {
				return false, false
			}
			fits, wait = false, true
		}
	}
	return fits, wait
}

// settle ends a reservation.
func (b *boxQuota) settle(ctx context.Context, sum quota.Usage, added bool) {
	a := b.q.account
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.settled.Broadcast()
	for _, r := range b.roots {
		p := a.pending(r.quotaRoot)
		p.sum = p.sum.Minus(sum)
		p.saves--
		if !added {
			continue
		}
		if err := r.backend.add(ctx, sum); err != nil {
			b.q.u.log.Errorf("quota: Failed to update quota for %s: %v", r.name, err)
			continue
		}
		p.warned = b.q.warn(ctx, r.quotaRoot, p.warned)
	}
	if added {
		b.q.clone.changed(ctx)
	}
}

// warn runs the command that a change of usage calls for, and returns the usage. The account is locked.
func (q *userQuota) warn(ctx context.Context, r *quotaRoot, before quota.Usage) (after quota.Usage) {
	if !r.Warns() {
		return before
	}
	after, base, err := r.backend.usage(ctx)
	if err != nil {
		q.u.log.Errorf("quota: Failed to get quota resource STORAGE_BYTES: quota-%s: %v", r.Backend, err)
		return before
	}
	if w := r.Warning(before, after, base); w != nil {
		q.u.background.Go(func() { q.execute(ctx, strings.Fields(w.Command)) })
	}
	return after
}

// Freeing implements [mailbox.Quota].
func (b *boxQuota) Freeing(ctx context.Context) (freed func(mailbox.Freed)) {
	ctx = context.WithoutCancel(ctx)
	for _, r := range b.roots {
		if r.backend.tracks() || r.Warns() || b.q.clone != nil {
			return func(f mailbox.Freed) { b.freed(ctx, f) }
		}
	}
	return nil
}

// deleting looks at a mailbox that is about to be deleted, and returns what notes that it is gone.
func (q *userQuota) deleting(ctx context.Context, m *mailbox.Mailbox, p place) (freed func()) {
	b := q.of(p, toRead)
	if b == nil {
		return func() {}
	}
	note := b.Freeing(ctx)
	if note == nil {
		return func() {}
	}
	used, err := q.total(ctx, m)
	return func() {
		note(mailbox.Freed{Bytes: used.Bytes, Messages: used.Messages, Unknown: err != nil})
	}
}

// freed notes that messages are gone.
func (b *boxQuota) freed(ctx context.Context, f mailbox.Freed) {
	diff := quota.Usage{Bytes: -f.Bytes, Messages: -f.Messages}
	a := b.q.account
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range b.roots {
		var err error
		if f.Unknown {
			err = r.backend.recalculate(ctx)
		} else {
			err = r.backend.add(ctx, diff)
		}
		if err != nil {
			b.q.u.log.Errorf("quota: Failed to update quota for %s: %v", r.name, err)
			continue
		}
		if p := a.pending(r.quotaRoot); p.saves == 0 { // else who saves looks at the usage
			b.q.warnFreed(ctx, r.quotaRoot, diff)
		}
	}
	b.q.clone.changed(ctx)
}

// warnFreed is warn where only the difference is known.
func (q *userQuota) warnFreed(ctx context.Context, r *quotaRoot, diff quota.Usage) {
	if !r.Warns() {
		return
	}
	after, _, err := r.backend.usage(ctx)
	if err != nil {
		q.u.log.Errorf("quota: Failed to get quota resource STORAGE_BYTES: quota-%s: %v", r.Backend, err)
		return
	}
	q.warn(ctx, r, after.Minus(diff))
}
