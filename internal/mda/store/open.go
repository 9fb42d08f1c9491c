package store

import (
	"context"
	"errors"
	"os"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Mailbox opens the mailbox of that name; it makes INBOX and mailboxes with
// auto= first. The caller closes it.
func (u *User) Mailbox(ctx context.Context, name string) (*mailbox.Mailbox, error) {
	return u.openFor(ctx, name, toRead)
}

// MailboxToSave is [User.Mailbox] for who only saves messages in it, which needs not
// the same rights.
func (u *User) MailboxToSave(ctx context.Context, name string) (*mailbox.Mailbox, error) {
	return u.openFor(ctx, name, toSave)
}

// MailboxToDeliver is [User.Mailbox] for mail from outside.
func (u *User) MailboxToDeliver(ctx context.Context, name string) (*mailbox.Mailbox, error) {
	return u.openFor(ctx, name, toDeliver)
}

func (u *User) openFor(ctx context.Context, name string, why purpose) (*mailbox.Mailbox, error) {
	p, err := u.resolve(name)
	if err != nil {
		return nil, err
	}
	if err := u.access.mayOpen(p, why); err != nil {
		return nil, err
	}
	if p.ns.st.isVirtual() {
		return nil, u.refuseVirtual(p, name)
	}
	m, err := u.open(ctx, p)
	if errors.Is(err, mailbox.ErrNotExist) {
		if !p.isAuto() {
			return nil, p.missing(name)
		}
		if err = u.createAuto(ctx, p); err != nil {
			return nil, internal(err)
		}
		if p, err = u.resolve(name); err != nil { // it has got its directory
			return nil, err
		}
		m, err = u.open(ctx, p)
	}
	if err != nil {
		return nil, internal(err)
	}
	if n := u.notifier(p.name, why); n != nil {
		m.SetNotifier(n)
	}
	if u.lazy.covers(p) {
		m.SetKeeper(&lazyKeeper{u.lazy, p})
	}
	u.access.protect(m, p, why)
	if err := u.attachQuota(m, p, why); err != nil {
		m.Close()
		return nil, internal(err)
	}
	u.fullText.attach(m, p)
	return m, nil
}

// open opens a mailbox that is on disk. One that another program made, or that was restored
// from a backup, need not have a directory for its index.
func (u *User) open(ctx context.Context, p place) (*mailbox.Mailbox, error) {
	if p.ns.st.isVirtual() {
		return nil, mailbox.ErrNotExist
	}
	loc := p.location()
	if p.name != inbox {
		// No name leads out of the mail root, even if a link does.
		n, err := p.node(false)
		if err == nil && !n.selectable {
			err = mailbox.ErrNotExist
		}
		if err != nil {
			return nil, err
		}
	}
	m, err := u.pool.Open(ctx, loc, u.set)
	if !errors.Is(err, mailbox.ErrNotExist) || loc.IndexDir == "" && loc.ControlDir == "" || isDirPath(loc.IndexDir) {
		return m, err
	}
	if n, err2 := p.node(false); err2 != nil || !n.selectable {
		return m, err
	}
	st, err2 := os.Stat(loc.Dir)
	if err2 != nil {
		return m, err
	}
	if err := p.makeBeside(permissionsFrom(st)); err != nil {
		return nil, err
	}
	return u.pool.Open(ctx, loc, u.set)
}

// Exists reports whether name can be selected, which mailboxes with auto= can
// before they are on disk.
func (u *User) Exists(ctx context.Context, name string) (bool, error) {
	p, err := u.resolve(name)
	if err != nil {
		return false, err
	}
	exists, err := u.exists(p)
	return exists, internal(err)
}

func (u *User) exists(p place) (bool, error) {
	if p.isAuto() {
		return true, nil
	}
	return u.made(p.ns, p.name)
}

// isAuto reports whether the mailbox is made when it is needed.
func (p place) isAuto() bool {
	return p.ns.Inbox && p.name == inbox || p.ns.auto(p.name) != nil
}

func (p place) location() mailbox.Location { return p.ns.st.location(p.disk, p.name) }

// made reports whether the mailbox is on disk.
func (u *User) made(ns *Namespace, name string) (bool, error) {
	n, err := u.look(ns, name, false)
	return err == nil && n.selectable, err
}

// named reports whether the name leads anywhere: to a mailbox, or to the
// directory of mailboxes below it.
func (u *User) named(p place) (bool, error) {
	if p.isAuto() {
		return true, nil
	}
	n, err := p.node(false)
	return err == nil && n.exists, err
}

// look returns what is on disk of a full name of the namespace.
func (u *User) look(ns *Namespace, name string, children bool) (*node, error) {
	parts, err := ns.split(ns.relative(name))
	if err != nil {
		return &node{name: name}, nil // an old subscription, perhaps
	}
	p := place{ns: ns, name: name}
	if p.disk, err = ns.diskName(name, parts); err != nil {
		return nil, err
	}
	return p.node(children)
}

// createAuto makes a mailbox that should be there, and subscribes it if the
// configuration says so.
func (u *User) createAuto(ctx context.Context, p place) error {
	err := u.create(ctx, p)
	if err != nil && !errors.Is(err, errExists) {
		return err
	}
	if err == nil && p.ns.Inbox && p.name == inbox {
		u.welcome(ctx)
	}
	if box := p.ns.auto(p.name); box != nil && box.Auto == "subscribe" {
		return u.setSubscribed(ctx, p, true)
	}
	return nil
}
