package store

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
)

// fsLayout has a directory for each name, in that of its parent. One is a mailbox if
// the directory of its messages is in it.
type fsLayout struct{}

func (fsLayout) tree(ns *Namespace, globs []glob) (*node, error) {
	root, err := ns.openScanned()
	if err != nil {
		return nil, err
	}
	top := &node{exists: true, name: ns.Prefix}
	w := treeWalk{ns: ns, root: root, globs: globs}
	return top, w.grow(top)
}

// A treeWalk reads the part of a directory tree that globs can match.
type treeWalk struct {
	ns    *Namespace
	root  *rootDir
	globs []glob
	above []dirID // directories that are being read, should links make a circle
}

// grow scans a node and, where the globs may match below, its children. Every node that
// may be listed is scanned.
func (w *treeWalk) grow(n *node) error {
	id, err := w.scan(n)
	if err != nil || slices.Contains(w.above, id) && id != (dirID{}) {
		return err
	}
	w.above = append(w.above, id)
	defer func() { w.above = w.above[:len(w.above)-1] }()
	for _, c := range n.children {
		switch {
		case below(w.globs, c.name+string(w.ns.Sep)):
			if err := w.grow(c); err != nil {
				return err
			}
		case matches(w.globs, c.name):
			if _, err := w.scan(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// scan reads the directory of a node: whether it is a mailbox and what is below.
func (w *treeWalk) scan(n *node) (id dirID, err error) {
	ns := w.ns
	entries, id, err := w.root.readDir(cmpOr(n.disk, "."))
	if err != nil {
		if leadsNowhere(err) {
			return id, nil
		}
		return id, err
	}
	if slices.Contains(w.above, id) {
		return id, nil // a link upwards: it has no other names
	}
	for _, e := range entries {
		name := e.Name()
		if name == trashDir || name == journal.DirName || !isDirectory(w.root, n.disk, e) {
			continue
		}
		if name == ns.st.marker() && !ns.st.iterIndex {
			n.selectable = n.disk != ""
			continue
		}
		if ns.st.reserved(name) && !ns.st.iterIndex {
			continue
		}
		n.children = append(n.children, ns.child(n, name))
	}
	if ns.st.iterIndex && n.disk != "" {
		n.selectable, err = ns.isMailbox(n.disk)
	}
	n.sort()
	return id, err
}

// child makes the node for a directory.
func (ns *Namespace) child(n *node, dir string) *node {
	c := &node{disk: path.Join(n.disk, dir), exists: true}
	if n.disk == "" {
		c.name = ns.fullDir(dir)
	} else {
		c.name = n.name + string(ns.Sep) + ns.st.decode(ns.st.partOf(dir))
	}
	return c
}

func isDirectory(root *rootDir, parent string, e fs.DirEntry) bool {
	switch t := e.Type(); {
	case t.IsDir():
		return true
	case t&fs.ModeSymlink != 0 || t == fs.ModeIrregular:
		is, err := root.isDir(path.Join(parent, e.Name()))
		return err == nil && is
	}
	return false
}

func (fsLayout) look(ns *Namespace, n *node, children bool) (err error) {
	if n.disk == inboxDisk {
		n.selectable, err = ns.isMailbox(n.disk)
		n.exists = n.selectable
		return err
	}
	root, err := ns.openScanned()
	if err != nil {
		return err
	}
	if n.exists, err = root.isDir(n.disk); err != nil || !n.exists {
		return err
	}
	if children {
		w := treeWalk{ns: ns, root: root}
		_, err = w.scan(n)
		return err
	}
	n.selectable, err = ns.isMailbox(n.disk)
	return err
}

// isMailbox reports whether a directory below that of the mailboxes is one.
func (ns *Namespace) isMailbox(disk string) (bool, error) {
	if disk == inboxDisk {
		dir := ns.st.location(disk, inbox).Dir
		if ns.st.dirName == "" {
			dir = filepath.Join(dir, ns.st.marker())
		}
		return isDirPath(dir), nil
	}
	root, err := ns.open()
	if err != nil {
		return false, err
	}
	return root.isDir(path.Join(disk, ns.st.marker()))
}

func (fsLayout) prepare(p *place) error { return p.makeDirs() }

func (fsLayout) created(_ *User, p place, _ uint32) error {
	p.listCreated(0)
	return nil
}

func (fsLayout) makeDir(p place) error {
	root, err := p.ns.open()
	if err == nil {
		err = p.ns.mkdirAll(root, p.disk)
	}
	if err == nil {
		p.ns.logChange(changeCreateDir, nameGUID(p.name))
		p.listCreated(listindex.NoSelect)
	}
	return err
}

// removed removes the directories of a mailbox that is no more, as far as they are
// empty.
func (fsLayout) removed(_ *User, p place, n *node) error {
	p.removeBeside()
	defer p.listDeleted(false)
	if n.hasChildren() || p.disk == "." { // a Maildir's INBOX is the root of all
		return nil
	}
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	if err := root.Remove(p.disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil //nolint:nilerr // something is in it that is no mailbox, and stays
	}
	p.ns.logChange(changeDeleteDir, nameGUID(p.name))
	if p.ns.st.noNoselect {
		p.ns.removeEmpty(root, path.Dir(p.disk))
	}
	return nil
}

// removeBeside removes the directories that a deleted mailbox had outside of the mail root.
func (p place) removeBeside() {
	loc := p.location()
	for _, dir := range []string{loc.IndexDir, loc.CacheDir, loc.ControlDir} {
		if dir == "" {
			continue
		}
		if dir == loc.CacheDir {
			os.Remove(filepath.Join(dir, "dovecot.index.cache"))
		}
		os.Remove(dir)
	}
	if loc.AltDir != "" {
		os.Remove(loc.AltDir)
		os.Remove(filepath.Dir(loc.AltDir))
	}
}

func (fsLayout) rename(u *User, src, dst place) error {
	root, err := src.ns.open()
	if err != nil {
		return err
	}
	to, err := dst.node(false)
	if err != nil || to.selectable {
		return errOr(err, errTargetExists)
	}
	if exists, err := root.isDir(src.disk); err != nil || !exists {
		return errOr(err, missing(src.name))
	}
	// Open handles of everything that moves must follow.
	moved := &node{name: src.name, disk: src.disk, exists: true}
	w := treeWalk{ns: src.ns, root: root, globs: []glob{newGlob("*", src.ns.Sep, false)}}
	if err := w.grow(moved); err != nil {
		return err
	}
	if parent := path.Dir(dst.disk); parent != "." {
		if err := dst.ns.mkdirAll(root, parent); err != nil {
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
	src.ns.removeEmpty(root, path.Dir(src.disk))
	listRenamed(src, dst)
	dst.ns.logChange(changeRename, nameGUID(dst.name))
	return nil
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
