package store

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
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
	if src.ns.st.format == "maildir" && src.disk == "." {
		return errRenameInbox
	}
	if src.ns.st.inRoot() {
		return internal(u.renameFolders(ctx, src, dst))
	}
	return internal(u.rename(ctx, src, dst))
}

func (u *User) rename(ctx context.Context, src, dst place) error {
	lock, err := src.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	root, err := src.ns.open()
	if err != nil {
		return err
	}
	if exists, err := isDir(root, dst.disk+"/"+dst.ns.st.marker()); err != nil || exists {
		return errOr(err, errTargetExists)
	}
	if exists, err := isDir(root, src.disk); err != nil || !exists {
		return errOr(err, missing(src.name))
	}
	// Open handles of everything that moves must follow.
	moved := &node{name: src.name, disk: src.disk, exists: true}
	if err := src.ns.grow(root, moved, []glob{newGlob("*", src.ns.Sep, false)}, 0); err != nil {
		return err
	}
	if parent := path.Dir(dst.disk); parent != "." {
		if err := mkdirAll(root, parent); err != nil {
			return err
		}
	}
	if err := root.Rename(src.disk, dst.disk); err != nil {
		if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
			return errTargetExists
		}
		return err
	}
	renameBeside(src, dst)
	u.renamed(src, dst, moved)
	removeEmpty(root, path.Dir(src.disk))
	dst.ns.logChange(changeRename, nameGUID(dst.name))
	return nil
}

// renameBeside renames the directories outside of the mail root. Where they are
// missing there is nothing in them.
func renameBeside(src, dst place) {
	st := src.ns.st
	roots := []string{st.index, st.alt}
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

// renamed tells the pool about every mailbox that moved.
func (u *User) renamed(src, dst place, n *node) {
	if n.selectable {
		disk := dst.disk + strings.TrimPrefix(n.disk, src.disk)
		name := dst.name + strings.TrimPrefix(n.name, src.name)
		u.pool.Renamed(src.ns.st.location(n.disk, n.name), dst.ns.st.location(disk, name))
	}
	for _, c := range n.children {
		u.renamed(src, dst, c)
	}
}
