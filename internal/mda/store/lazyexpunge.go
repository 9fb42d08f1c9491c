package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

var _ = dovecot.RegisterPlugin("lazy_expunge", "lazy_expunge", "lazy_expunge_exclude*", "lazy_expunge_only_last_instance")

// A lazyExpunge is Dovecot's plugin lazy_expunge: what is expunged of private mailboxes is copied to
// another one first. A nil one keeps nothing.
type lazyExpunge struct {
	u        *User
	ns       *Namespace // where the copies go:
	box      string     // to this mailbox, or, if it is "", to that of the same name
	excluded []string   // masks of names, and special uses, of mailboxes of which nothing is kept
	lastOnly bool       // only messages that nothing else shares the text with are kept
}

// newLazyExpunge returns that of a user; nil if the plugin is not asked for, or not set up.
func newLazyExpunge(u *User) (*lazyExpunge, error) {
	if !u.HasPlugin("lazy_expunge") {
		return nil, nil
	}
	set, err := u.plugin()
	if err != nil {
		return nil, err
	}
	target, _, err := set.get("lazy_expunge")
	if err != nil || target == "" {
		return nil, err
	}
	l := &lazyExpunge{u: u}
	if l.ns = u.byPrefix(u.namespaces, target); l.ns == nil {
		l.ns, l.box = u.namespaceOf(target), target
	}
	if l.ns == nil || l.ns.Type != Private {
		return nil, fmt.Errorf("lazy_expunge: %s is not in a private namespace", target)
	}
	if l.lastOnly, err = set.getBool("lazy_expunge_only_last_instance"); err != nil {
		return nil, err
	}
	l.excluded, err = set.numbered("lazy_expunge_exclude")
	return l, err
}

// owns reports whether the namespace is there for what was expunged.
func (l *lazyExpunge) owns(ns *Namespace) bool { return l != nil && l.box == "" && l.ns == ns }

// covers reports whether what is expunged of the mailbox is kept.
func (l *lazyExpunge) covers(p place) bool {
	if l == nil || p.ns.Type != Private || l.owns(p.ns) || l.box != "" && l.box == p.name {
		return false
	}
	return !p.matchesAny(l.excluded)
}

// matchesAny reports whether a mask is of the name of the mailbox, or is its special use.
func (p place) matchesAny(masks []string) bool {
	return slices.ContainsFunc(masks, func(mask string) bool {
		if strings.HasPrefix(mask, `\`) {
			return slices.ContainsFunc(strings.Fields(p.ns.specialUse(p.name)), func(use string) bool { return strings.EqualFold(use, mask) })
		}
		return acl.Match(mask, p.ns.relative(p.name))
	})
}

// name returns where copies of messages of a mailbox go.
func (l *lazyExpunge) name(src place) string {
	if l.box != "" {
		return l.box
	}
	return l.ns.full(strings.ReplaceAll(src.ns.relative(src.name), string(src.ns.Sep), string(l.ns.Sep)))
}

// open opens the mailbox for the copies, made if it is missing. Rights of the user do not count.
func (l *lazyExpunge) open(ctx context.Context, src place) (*mailbox.Mailbox, error) {
	name := l.name(src)
	m, err := l.u.openFor(ctx, name, toKeep)
	if !errors.Is(err, mailbox.ErrNotExist) {
		return m, err
	}
	p, err := l.u.resolve(name)
	if err != nil {
		return nil, err
	}
	if err := l.u.create(ctx, p); err != nil && !errors.Is(err, errExists) {
		return nil, err
	}
	return l.u.openFor(ctx, name, toKeep)
}

// A lazyKeeper keeps what is expunged of one mailbox.
type lazyKeeper struct {
	l *lazyExpunge
	p place
}

var _ mailbox.Keeper = (*lazyKeeper)(nil)

// KeepsMoved implements [mailbox.Keeper]. As Dovecot does: a moved message is one that is expunged.
func (k *lazyKeeper) KeepsMoved() bool { return !k.l.lastOnly }

// Keep implements [mailbox.Keeper].
func (k *lazyKeeper) Keep(ctx context.Context, m *mailbox.Mailbox, uids []uint32) (gone []uint32, done func(), err error) {
	done = func() {}
	if k.l.lastOnly {
		// Two sessions that expunge the two last instances at once must not both take
		// theirs for the first of them.
		done = k.l.u.pool.Alone("lazy_expunge\x00" + k.l.u.info.Username)
		if gone, uids, err = lastInstances(ctx, m, uids); err != nil {
			done()
			return nil, nil, keepFailed(err)
		}
	}
	kept, err := k.copy(ctx, m, uids)
	if err != nil {
		done()
		return nil, nil, keepFailed(err)
	}
	gone = append(gone, kept...)
	slices.Sort(gone)
	return gone, done, nil
}

// copy returns the messages of which there is a durable copy.
func (k *lazyKeeper) copy(ctx context.Context, m *mailbox.Mailbox, uids []uint32) ([]uint32, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	dst, err := k.l.open(ctx, k.p)
	if err != nil {
		return nil, err
	}
	defer dst.Close()
	r, err := m.CopyToKeep(ctx, uids, dst)
	return r.Src, err
}

// keepFailed is why nothing is expunged. That a mailbox is gone says nothing here of the one that the session has open.
func keepFailed(err error) error {
	if errors.Is(err, mailbox.ErrNoSpace) {
		return internal(err)
	}
	return internal(fmt.Errorf("lazy_expunge: %s", err.Error()))
}

// lastInstances separates messages whose text others share from those with which it would go.
func lastInstances(ctx context.Context, m *mailbox.Mailbox, uids []uint32) (others, last []uint32, err error) {
	going := map[uint64]int{} // of the texts that are shared: how many go
	for _, uid := range uids {
		msg, err := m.Message(uid)
		var ref mailbox.Reference
		if err == nil {
			ref, err = msg.Reference(ctx)
		}
		switch {
		case errors.Is(err, mailbox.ErrExpunged):
		case err != nil:
			return nil, nil, err
		case ref.Count-going[ref.ID] <= 1:
			last = append(last, uid)
		default:
			going[ref.ID]++
			others = append(others, uid)
		}
	}
	return others, last, nil
}

// maxEmptyings bounds how often a mailbox is emptied that is to be deleted, if new messages come all the time.
const maxEmptyings = 10

// deleteKeeping deletes a mailbox when its messages were kept. The lock of the list, which
// making the mailbox for the copies may need, is not held meanwhile.
func (u *User) deleteKeeping(ctx context.Context, p place) error {
	for try := 0; ; try++ {
		if err := u.expungeAll(ctx, p); err != nil {
			return err
		}
		err := u.deleteLocked(ctx, p)
		if !errors.Is(err, mailbox.ErrNotEmpty) || try == maxEmptyings {
			return err
		}
	}
}

// expungeAll expunges the messages of a mailbox, if it is there.
func (u *User) expungeAll(ctx context.Context, p place) error {
	if made, err := u.made(p.ns, p.name); err != nil || !made {
		return err
	}
	m, err := u.openFor(ctx, p.name, toKeep)
	if errors.Is(err, mailbox.ErrDeleted) || errors.Is(err, mailbox.ErrNotExist) {
		return nil // by a deletion that was cut off
	}
	if err != nil {
		return err
	}
	defer m.Close()
	snap, err := m.Sync(ctx)
	if err != nil || snap.Len() == 0 {
		return err
	}
	uids := make([]uint32, snap.Len())
	for i := range uids {
		uids[i] = snap.UID(i)
	}
	return m.Expunge(ctx, uids)
}
