package store

import (
	"context"
	"errors"
	"io/fs"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Mailbox opens the mailbox of that name; it makes INBOX and mailboxes with
// auto= first. The caller closes it.
func (u *User) Mailbox(ctx context.Context, name string) (*mailbox.Mailbox, error) {
	p, err := u.resolve(name)
	if err != nil {
		return nil, err
	}
	m, err := u.pool.Open(ctx, p.location(), u.set)
	if errors.Is(err, mailbox.ErrNotExist) {
		if !p.isAuto() {
			return nil, missingMailbox(name)
		}
		if err = u.createAuto(ctx, p); err != nil {
			return nil, internal(err)
		}
		m, err = u.pool.Open(ctx, p.location(), u.set)
	}
	if err != nil {
		return nil, internal(err)
	}
	return m, nil
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
	return onDisk(ns, name, "/"+ns.st.marker())
}

// named reports whether the name leads anywhere: to a mailbox, or to the
// directory of mailboxes below it.
func (u *User) named(p place) (bool, error) {
	if p.isAuto() {
		return true, nil
	}
	return onDisk(p.ns, p.name, "")
}

func onDisk(ns *Namespace, name, suffix string) (bool, error) {
	parts, err := ns.split(ns.relative(name))
	if err != nil {
		return false, nil
	}
	root, err := ns.open()
	if err != nil {
		return false, err
	}
	return isDir(root, ns.diskName(name, parts)+suffix)
}

// createAuto makes a mailbox that should be there, and subscribes it if the
// configuration says so.
func (u *User) createAuto(ctx context.Context, p place) error {
	if err := u.create(ctx, p); err != nil && !errors.Is(err, errExists) {
		return err
	}
	if box := p.ns.auto(p.name); box != nil && box.Auto == "subscribe" {
		return u.setSubscribed(ctx, p, true)
	}
	return nil
}

// A statter is an [os.Root].
type statter interface {
	Stat(name string) (fs.FileInfo, error)
}

func isDir(root statter, name string) (bool, error) {
	st, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return st.IsDir(), nil
}
