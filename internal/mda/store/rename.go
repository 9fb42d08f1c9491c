package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Rename renames a mailbox with those below it. Renaming INBOX moves it away as
// any other; it is made anew when it is needed.
func (u *User) Rename(ctx context.Context, from, to string) error {
	src, err := u.resolve(from)
	if err != nil {
		return err
	}
	dst, err := u.resolve(to)
	if err != nil {
		return err
	}
	switch {
	case u.lazy.owns(src.ns) || u.lazy.owns(dst.ns):
		return errRenameExpunged
	case src.ns == dst.ns && src.name == dst.name:
		return errRenameSelf
	case src.ns == dst.ns && strings.HasPrefix(dst.name, src.name+string(src.ns.Sep)):
		return errRenameChild
	case src.ns != dst.ns && !src.ns.st.alike(dst.ns.st):
		return errRenameStorage
	case src.ns != dst.ns && (src.ns.Type != Private || dst.ns.Type != Private):
		return errRenamePublic
	case src.ns != dst.ns && src.ns.st.boxes() != dst.ns.st.boxes():
		return errRenameStorage
	}
	if src.disk == inboxDisk && src.ns.st.inboxInRoot {
		return errRenameInbox
	}
	if err := dst.checkNew(); err != nil {
		return err
	}
	if err := u.access.mayDelete(src); err != nil {
		return err
	}
	if err := u.access.mayCreate(dst); err != nil {
		return err
	}
	return internal(u.rename(ctx, src, dst))
}

func (u *User) rename(ctx context.Context, src, dst place) error {
	if src.ns.st.isVirtual() {
		return errVirtualChange
	}
	lock, err := src.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	at := src.ns.st.location(src.disk, src.name)
	if err := u.pool.Settle(&at); err != nil {
		return err
	}
	err = src.ns.st.names().rename(u, src, dst)
	if err == nil {
		err = u.pool.Settle(&at)
	}
	if err == nil {
		u.stampRenamed(ctx, dst)
		u.mailLog.renamed(src.name, dst.name)
		u.told.changed(src.name, dst.name)
	}
	return err
}

// stampRenamed notes when a mailbox got its name, before which autoexpunge takes no message for old.
// That a directory has no index to note it in is no error.
func (u *User) stampRenamed(ctx context.Context, p place) {
	m, err := u.pool.Open(ctx, p.location(), u.set)
	if err != nil {
		return
	}
	defer m.Close()
	if err := m.SetRenamed(ctx, time.Now()); err != nil {
		u.log.Errorf("Mailbox %s: %v", p.name, err)
	}
}

// alike reports whether mailboxes have the same parts in two storages, as far as Dovecot looks before it looks
// whose they are.
func (s *storage) alike(o *storage) bool {
	has := func(dir string) bool { return dir != "" }
	return s.format == o.format && (s.format != "mdbox" || s.root == o.root) && has(s.alt) == has(o.alt) && has(s.index) == has(o.index) &&
		has(s.indexCache) == has(o.indexCache) && (s.control != s.root) == (o.control != o.root)
}

// renameBeside renames the directories outside of the mail root. Where they are
// missing there is nothing in them.
func renameBeside(src, dst place) {
	st := src.ns.st
	roots := []string{st.index, st.indexCache, st.alt}
	if st.control != st.root {
		roots = append(roots, st.control)
	}
	for _, root := range roots {
		if root == "" {
			continue
		}
		from := filepath.Join(root, st.mailboxDir, src.disk)
		to := filepath.Join(root, st.mailboxDir, dst.disk)
		if os.MkdirAll(filepath.Dir(to), 0o700) == nil {
			os.Rename(from, to) //nolint:errcheck // an index left behind is made anew
		}
	}
}
