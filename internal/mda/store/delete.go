package store

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Delete removes a mailbox with its messages. One that has others below it
// leaves its directory behind; a directory without mailbox must be empty.
func (u *User) Delete(ctx context.Context, name string) error {
	if ns := u.namespaceOf(name); name == "" || ns != nil && ns.Prefix != "" && !(ns.Inbox && name == ns.prefixName()) && !ns.inboxAny &&
		(name == ns.Prefix || name == ns.prefixName()) {
		return errDeleteRoot
	}
	p, err := u.resolve(name)
	if err != nil {
		return err
	}
	if p.ns.Inbox && p.name == inbox || p.ns.inboxAny && p.ns.relative(p.name) == inbox || p.ns.isAliasInbox(p.name) {
		return errDeleteInbox
	}
	if err := u.access.mayDelete(p); err != nil {
		return err
	}
	return internal(u.delete(ctx, p))
}

func (u *User) delete(ctx context.Context, p place) error {
	if p.ns.st.isVirtual() {
		return errVirtualChange
	}
	if u.lazy.covers(p) {
		return u.deleteKeeping(ctx, p)
	}
	return u.deleteLocked(ctx, p)
}

// deleteLocked deletes the mailbox under the lock of the list.
func (u *User) deleteLocked(ctx context.Context, p place) error {
	lock, err := p.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	n, err := p.node(!p.ns.st.inRoot())
	if err != nil {
		return err
	}
	switch {
	case !n.selectable && p.isAuto():
		return nil // there in name only
	case !n.exists:
		return missing(p.name)
	case !n.selectable && n.hasChildren():
		return errHasChildren
	}
	if n.selectable {
		if err := u.deleteMailbox(ctx, p); err != nil {
			return err
		}
	}
	return p.ns.st.names().removed(u, p, n)
}

// deleteMailbox removes the messages and the message directory.
func (u *User) deleteMailbox(ctx context.Context, p place) error {
	loc := p.location()
	m, err := u.pool.Open(ctx, loc, u.set)
	freed := func() {}
	if err == nil {
		guid := m.GUID()
		freed = u.deletingQuota(ctx, m, p)
		m.Close()
		p.ns.logChange(changeDeleteMailbox, guid)
		defer u.forgetMetadata(ctx, guid)
	} else if !errors.Is(err, mailbox.ErrNotExist) {
		u.log.Errorf("Mailbox %s: %v", p.name, err) // it is deleted all the same
	}
	switch {
	case u.lazy.covers(p):
		err = u.pool.DeleteEmpty(ctx, loc, u.set)
	case u.mailLog != nil:
		err = u.pool.DeleteNotified(ctx, loc, u.set, u.mailLog)
	default:
		err = u.pool.Delete(ctx, loc, u.set)
	}
	if err == nil {
		freed()
		u.mailLog.deleted(p.name)
		u.told.changed(p.name)
	}
	return err
}
