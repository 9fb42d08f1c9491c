package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Create makes a mailbox, or only its directory if name ends with the separator.
func (u *User) Create(ctx context.Context, name string) error {
	p, err := u.resolveDir(name)
	if err != nil {
		if ns := u.namespaceOf(name); ns != nil && ns.Prefix != "" && (name == ns.Prefix || name == ns.prefixName()) {
			return errExists
		}
		return err
	}
	if p.ns.st.format == "maildir" && p.disk == "." {
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
	lock, err := p.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	if made, err := isDir(root, p.disk+"/"+p.ns.st.marker()); err != nil || made {
		return errOr(err, errExists)
	}
	if err := mkdirAll(root, p.disk); err != nil {
		return err
	}
	validity, err := p.ns.nextUIDValidity()
	if err != nil {
		return err
	}
	err = u.pool.Create(ctx, p.location(), u.set, mailbox.Identity{UIDValidity: validity})
	if errors.Is(err, mailbox.ErrExists) {
		return errExists
	}
	if err == nil {
		err = p.markFolder()
	}
	return err
}

// createDir makes a directory for mailboxes below it.
func (u *User) createDir(ctx context.Context, p place) error {
	lock, err := p.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	if made, err := isDir(root, p.disk); err != nil || made {
		return errOr(err, errExists)
	}
	if err := mkdirAll(root, p.disk); err != nil {
		return err
	}
	p.ns.logChange(changeCreateDir, nameGUID(p.name))
	return nil
}

// mkdirAll makes a directory and those above it with the mode of the root.
func mkdirAll(root *os.Root, dir string) error {
	st, err := root.Stat(".")
	if err != nil {
		return err
	}
	mode := st.Mode().Perm()
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		if err := root.Mkdir(dir[:i], mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// removeEmpty removes a directory and, while they are empty, those above it.
func removeEmpty(root *os.Root, dir string) {
	for dir != "." && dir != "" {
		if root.Remove(dir) != nil {
			return
		}
		dir = path.Dir(dir)
	}
}

func errOr(err, dflt error) error {
	if err != nil {
		return err
	}
	return dflt
}
