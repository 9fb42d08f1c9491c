package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Delete removes a mailbox with its messages. One that has others below it
// leaves its directory behind; a directory without mailbox must be empty.
func (u *User) Delete(ctx context.Context, name string) error {
	if ns := u.namespaceOf(name); name == "" || ns != nil && ns.Prefix != "" && !(ns.Inbox && name == ns.prefixName()) &&
		(name == ns.Prefix || name == ns.prefixName()) {
		return errDeleteRoot
	}
	p, err := u.resolve(name)
	if err != nil {
		return err
	}
	if p.ns.Inbox && p.name == inbox {
		return errDeleteInbox
	}
	return internal(u.delete(ctx, p))
}

func (u *User) delete(ctx context.Context, p place) error {
	lock, err := p.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	n := &node{name: p.name, disk: p.disk}
	if n.exists, err = isDir(root, p.disk); err != nil {
		return err
	}
	if p.ns.st.inRoot() {
		err = p.ns.lookFolder(root, n)
	} else if n.exists {
		err = p.ns.scan(root, n)
	}
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
	p.removeDirs(root, n)
	return nil
}

// deleteMailbox removes the messages and the message directory.
func (u *User) deleteMailbox(ctx context.Context, p place) error {
	loc := p.location()
	m, err := u.pool.Open(ctx, loc, u.set)
	if err == nil {
		guid := m.GUID()
		m.Close()
		p.ns.logChange(changeDeleteMailbox, guid)
	} else if !errors.Is(err, mailbox.ErrNotExist) {
		u.log.Errorf("Mailbox %s: %v", p.name, err) // it is deleted all the same
	}
	return u.pool.Delete(ctx, loc, u.set)
}

// removeDirs removes the directories of a mailbox that is no more, as far as
// they are empty.
func (p place) removeDirs(root *os.Root, n *node) {
	loc := p.location()
	for _, dir := range []string{loc.IndexDir, loc.ControlDir} {
		if dir != "" {
			os.Remove(dir)
		}
	}
	if loc.AltDir != "" {
		os.Remove(loc.AltDir)
		os.Remove(filepath.Dir(loc.AltDir))
	}
	if n.hasChildren() && !p.ns.st.inRoot() {
		return
	}
	if err := root.Remove(p.disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	p.ns.logChange(changeDeleteDir, nameGUID(p.name))
	if p.ns.st.noNoselect {
		removeEmpty(root, path.Dir(p.disk))
	}
}
