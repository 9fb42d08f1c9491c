package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The Maildir++ layout: all mailboxes are directories in the root, named by a dot and the
// parts of the name with dots between them; INBOX is the root itself.
const (
	layoutFS          = "fs"
	layoutMaildirPlus = "maildir++"

	// maildirMarker is the directory that makes another one a Maildir.
	maildirMarker = "cur"
	// maildirFolder is an empty file in all folders but INBOX: delivery agents know by it that
	// they are in one.
	maildirFolder = "maildirfolder"
)

var errRenameInbox = &Error{Code: CodeCannot, Text: "Renaming INBOX isn't supported"}

// inRoot reports whether the Maildir++ layout is used.
func (s *storage) inRoot() bool { return s.layout == layoutMaildirPlus }

// separator is what the layout has between the parts of a name.
func (s *storage) separator() byte {
	if s.inRoot() {
		return '.'
	}
	return '/'
}

// diskName returns the path of a mailbox below the directory of the mailboxes.
func (ns *Namespace) diskName(name string, parts []string) string {
	switch {
	case ns.st.format == "maildir" && ns.Inbox && name == inbox:
		return "."
	case ns.st.inRoot():
		return "." + strings.Join(parts, ".")
	}
	return strings.Join(parts, "/")
}

// beside returns the path of a mailbox below the roots of index and control files.
func (s *storage) beside(disk string) string {
	switch {
	case disk != "." || s.format != "maildir":
		return disk
	case s.inRoot():
		return "." + inbox
	}
	return inbox
}

// marker is the directory that makes another one a mailbox.
func (s *storage) marker() string {
	if s.format == "maildir" {
		return maildirMarker
	}
	return s.dirName
}

// reserved reports whether a directory of the mailbox tree is none of a mailbox.
func (s *storage) reserved(dir string) bool {
	switch {
	case dir == trashDir:
		return true
	case s.format == "maildir" && !s.inRoot():
		return dir == "cur" || dir == "new" || dir == "tmp"
	}
	return dir == s.dirName
}

// readFolders adds the folders of a Maildir++ to the tree.
func (ns *Namespace) readFolders(root *os.Root, top *node) error {
	top.scanned = true
	return eachFolder(root, func(dir string) {
		parts := strings.Split(dir[1:], ".")
		for i, part := range parts {
			if part == "" {
				return // no name leads there
			}
			parts[i] = ns.st.decode(part)
		}
		name := strings.Join(parts, string(ns.Sep))
		if ns.Inbox && name == inbox {
			return // the root is INBOX
		}
		n := ns.insert(top, ns.full(name))
		n.disk, n.exists, n.selectable = dir, true, true
	})
}

// eachFolder calls fn with the directories that are folders.
func eachFolder(root *os.Root, fn func(dir string)) error {
	f, err := root.Open(".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); isFolder(name) && isDirectory(root, ".", e) {
			fn(name)
		}
	}
	return nil
}

// isFolder reports whether a directory of this name is a folder.
func isFolder(name string) bool {
	return len(name) > 1 && name[0] == '.' && name[1] != '.'
}

// lookFolder finds out about one name of a Maildir++: whether it is there and whether
// others are below it.
func (ns *Namespace) lookFolder(root *os.Root, n *node) error {
	n.scanned = true
	exists, err := isDir(root, n.disk)
	if err != nil {
		return err
	}
	n.exists, n.selectable = exists, exists
	below := n.disk + "."
	return eachFolder(root, func(dir string) {
		if strings.HasPrefix(dir, below) {
			n.children = append(n.children, &node{disk: dir, exists: true, selectable: true})
		}
	})
}

// markFolder makes the file by which delivery agents know a folder.
func (p place) markFolder() error {
	if !p.ns.st.inRoot() || p.disk == "." {
		return nil
	}
	path := filepath.Join(p.location().Dir, maildirFolder)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, fileMode(path))
	if err != nil {
		return err
	}
	return f.Close()
}

// renameFolders renames a folder of a Maildir++ and those below it.
func (u *User) renameFolders(ctx context.Context, src, dst place) error {
	lock, err := src.ns.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.unlock()
	root, err := src.ns.open()
	if err != nil {
		return err
	}
	var dirs []string
	err = eachFolder(root, func(dir string) {
		if dir == src.disk || strings.HasPrefix(dir, src.disk+".") {
			dirs = append(dirs, dir)
		}
	})
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return missing(src.name)
	}
	slices.Sort(dirs)
	into := func(dir string) string { return dst.disk + strings.TrimPrefix(dir, src.disk) }
	for _, dir := range dirs {
		if exists, err := isDir(root, into(dir)); err != nil || exists {
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
	dst.ns.logChange(changeRename, nameGUID(dst.name))
	return nil
}
