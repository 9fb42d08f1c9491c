package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
	"github.com/dovetail-mail/dovetail/internal/mda/store/virtual"
)

// The Maildir++ layout: all mailboxes are directories in the root, named by a dot and the
// parts of the name with dots between them; INBOX is the root itself.
const (
	layoutFS          = "fs"
	layoutMaildirPlus = "maildir++"
	layoutIndex       = "index"
	layoutNone        = "none"

	// maildirMarker is the directory that makes another one a Maildir.
	maildirMarker = "cur"
	// maildirFolder is an empty file in all folders but INBOX: delivery agents know by it that
	// they are in one.
	maildirFolder = "maildirfolder"
	// maildirShared is an empty file in Maildirs that several users share. New folders get it
	// from the root.
	maildirShared = "dovecot-shared"
)

var errRenameInbox = &Error{Code: CodeCannot, Text: "Renaming INBOX isn't supported"}

// inRoot reports whether the Maildir++ layout is used.
func (s *storage) inRoot() bool { return s.layout == layoutMaildirPlus }

// separator is what the layout has between the parts of a name.
func (s *storage) separator() byte {
	switch s.layout {
	case layoutMaildirPlus:
		return '.'
	case layoutIndex:
		return s.listSep
	}
	return '/'
}

// marker is the directory that makes another one a mailbox.
func (s *storage) marker() string {
	if s.isVirtual() {
		return virtual.FileName // which is none: there is no mailbox that could be opened
	}
	if s.dirName == "" && s.format == "maildir" {
		return maildirMarker
	}
	return s.dirName
}

// reserved reports whether a directory of the mailbox tree is none of a mailbox.
func (s *storage) reserved(dir string) bool {
	switch {
	case dir == trashDir, dir == journal.DirName:
		return true
	case s.layout == layoutIndex:
		return false
	case s.format == "mbox":
		return s.reservedMbox(dir)
	case s.format == "maildir" && s.dirName == "" && !s.inRoot():
		return dir == "cur" || dir == "new" || dir == "tmp"
	}
	return dir == s.dirName
}

// plusLayout has all mailboxes side by side.
type plusLayout struct{}

// tree reads the folders of a Maildir++.
func (plusLayout) tree(ns *Namespace, _ []glob) (*node, error) {
	root, err := ns.openScanned()
	if err != nil {
		return nil, err
	}
	top := &node{exists: true, name: ns.Prefix}
	dirs, err := folders(root)
	slices.Sort(dirs) // so that most nodes are added behind the last
	for _, dir := range dirs {
		n := ns.folderNode(top, dir)
		if n == nil {
			continue
		}
		n.disk, n.exists, n.selectable = dir, true, true
	}
	return top, err
}

// folderNode returns the node of a folder, nil where no name leads there.
func (ns *Namespace) folderNode(top *node, dir string) *node {
	name, ok := ns.folderName(dir)
	switch {
	case !ok:
		return nil
	case !ns.Inbox || name != inbox:
		return ns.insert(top, ns.full(name))
	case ns.isOtherInbox(ns.fullDir(dir[1:])):
		return top.get(ns.Prefix + inbox)
	}
	return nil // the root is INBOX
}

// folderName returns the name of a folder, without the prefix of the namespace. It is
// false where no name leads there.
func (ns *Namespace) folderName(dir string) (string, bool) {
	parts := strings.Split(dir[1:], ".")
	for i, part := range parts {
		if part == "" {
			return "", false
		}
		parts[i] = ns.st.decode(ns.st.partOf(part))
	}
	return strings.Join(parts, string(ns.Sep)), true
}

// folders returns the directories that are folders.
func folders(root *rootDir) (dirs []string, err error) {
	entries, _, err := root.readDir(".")
	for _, e := range entries {
		if name := e.Name(); isFolder(name) && isDirectory(root, ".", e) {
			dirs = append(dirs, name)
		}
	}
	return dirs, err
}

// isFolder reports whether a directory of this name is a folder.
func isFolder(name string) bool {
	return len(name) > 1 && name[0] == '.' && name[1] != '.'
}

func (plusLayout) look(ns *Namespace, n *node, children bool) error {
	root, err := ns.openScanned()
	if err != nil {
		return err
	}
	if n.disk == inboxDisk {
		n.exists, err = ns.isMailbox(n.disk)
	} else {
		n.exists, err = root.isDir(n.disk)
	}
	n.selectable = n.exists
	if err != nil || !children {
		return err
	}
	dirs, err := folders(root)
	below := ns.st.beside(n.disk) + "."
	for _, dir := range dirs {
		if strings.HasPrefix(dir, below) {
			n.children = append(n.children, &node{disk: dir, exists: true, selectable: true})
			break
		}
	}
	return err
}

func (plusLayout) prepare(p *place) error { return p.makeDirs() }

// created makes the files by which other programs know folders.
func (plusLayout) created(_ *User, p place, _ uint32) error {
	p.listCreated(0)
	dir := p.location().Dir
	if p.disk != inboxDisk {
		if err := touch(filepath.Join(dir, maildirFolder)); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(p.ns.st.boxes(), maildirShared)); err != nil {
		return nil //nolint:nilerr // this namespace is not shared
	}
	return touch(filepath.Join(dir, maildirShared))
}

// touch makes an empty file.
func touch(path string) error {
	f, err := createFile(path, os.O_WRONLY)
	if err != nil {
		return err
	}
	return f.Close()
}

// makeDir makes a mailbox: a Maildir++ has no directories that are no folders.
func (plusLayout) makeDir(place) error { return errors.ErrUnsupported }

func (plusLayout) removed(_ *User, p place, _ *node) error {
	p.removeBeside()
	defer p.listDeleted(false)
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	if err := root.Remove(p.disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil //nolint:nilerr // something is in it that is not ours, and stays
	}
	p.ns.logChange(changeDeleteDir, nameGUID(p.name))
	return nil
}

// rename renames a folder of a Maildir++ and those below it.
func (plusLayout) rename(u *User, src, dst place) error {
	root, err := src.ns.open()
	if err != nil {
		return err
	}
	all, err := folders(root)
	if err != nil {
		return err
	}
	var dirs []string
	for _, dir := range all {
		if dir == src.disk || strings.HasPrefix(dir, src.disk+".") {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return missing(src.name)
	}
	slices.Sort(dirs)
	into := func(dir string) string { return dst.disk + strings.TrimPrefix(dir, src.disk) }
	for _, dir := range dirs {
		if len(into(dir)) > maxPart {
			return errTooLong // nothing is renamed halfway
		}
		if exists, err := root.isDir(into(dir)); err != nil || exists {
			return errOr(err, errTargetExists)
		}
	}
	for _, dir := range dirs {
		to := into(dir)
		if err := root.Rename(dir, to); err != nil {
			return err
		}
		a, b := src, dst
		a.disk, b.disk = dir, to
		renameBeside(a, b)
		u.pool.Renamed(a.location(), b.location())
	}
	listRenamed(src, dst)
	dst.ns.logChange(changeRename, nameGUID(dst.name))
	return nil
}
