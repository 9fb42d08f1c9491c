package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
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
	case src.ns == dst.ns && src.name == dst.name:
		return errRenameSelf
	case src.ns == dst.ns && strings.HasPrefix(dst.name, src.name+string(src.ns.Sep)):
		return errRenameChild
	case src.ns != dst.ns && src.ns.st.boxes() != dst.ns.st.boxes():
		return errRenameStorage
	}
	if src.disk == inboxDisk && src.ns.st.inboxInRoot {
		return errRenameInbox
	}
	if err := dst.checkNew(); err != nil {
		return err
	}
	return internal(u.rename(ctx, src, dst))
}

func (u *User) rename(ctx context.Context, src, dst place) error {
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
		u.mailLog.renamed(src.name, dst.name)
	}
	return err
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
