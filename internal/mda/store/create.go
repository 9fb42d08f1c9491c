package store

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Create makes a mailbox, or only its directory if name ends with the separator.
func (u *User) Create(ctx context.Context, name string) error {
	return u.CreateGUID(ctx, name, [16]byte{})
}

// CreateGUID is Create of a mailbox with the given GUID; a zero one asks for a new.
func (u *User) CreateGUID(ctx context.Context, name string, guid [16]byte) error {
	p, err := u.resolveDir(name)
	p.guid = guid
	if ns := u.namespaceOf(name); ns != nil && ns.unusable {
		return errCannotCreate
	}
	if err != nil {
		if ns := u.namespaceOf(name); ns != nil && ns.Prefix != "" && (name == ns.Prefix || name == ns.prefixName()) {
			return errExists
		}
		return err
	}
	if err := p.checkNew(); err != nil {
		return err
	}
	if err := u.access.mayCreate(p); err != nil {
		return err
	}
	if p.disk == inboxDisk && p.ns.st.inboxInRoot {
		// The root is there, so INBOX is.
		if err := u.create(ctx, p); err != nil {
			return internal(err)
		}
		return errExists
	}
	if p.dir && !p.ns.st.inRoot() { // a Maildir++ has no directories that are no folders
		return internal(u.createDir(ctx, p))
	}
	return internal(u.create(ctx, p))
}

// CreateSpecialUse is Create with the special uses of RFC 6154 3, which Dovecot
// accepts and does not keep.
func (u *User) CreateSpecialUse(ctx context.Context, name, use string) error {
	return u.Create(ctx, name)
}

// create makes the mailbox under the lock of the list.
func (u *User) create(ctx context.Context, p place) error {
	if p.ns.st.isVirtual() {
		return errVirtualCreate
	}
	lock, err := p.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	n, err := p.node(false)
	if err != nil || n.selectable {
		return errOr(err, errExists)
	}
	list := p.ns.st.names()
	if err := list.prepare(&p); err != nil {
		return err
	}
	validity := p.uidValidity
	if validity == 0 {
		if validity, err = p.ns.nextUIDValidity(); err != nil {
			return err
		}
	}
	id := mailbox.Identity{UIDValidity: validity, GUID: p.guid}
	err = u.pool.Create(ctx, p.location(), u.set, id)
	if errors.Is(err, mailbox.ErrExists) {
		return errExists
	}
	if err != nil {
		return err
	}
	if err := list.created(u, p, validity); err != nil {
		return err
	}
	if err := u.access.inherit(ctx, p); err != nil {
		return err
	}
	u.mailLog.created(p.name)
	u.told.changed(p.name)
	return nil
}

// createDir makes a name for mailboxes below it.
func (u *User) createDir(ctx context.Context, p place) error {
	if p.ns.st.isVirtual() {
		return errVirtualCreate
	}
	lock, err := p.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	n, err := p.node(false)
	if err != nil || n.exists {
		return errOr(err, errExists)
	}
	return p.ns.st.names().makeDir(p)
}

func errOr(err, dflt error) error {
	if err != nil {
		return err
	}
	return dflt
}
