package store

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// mboxLayout has a file for each mailbox and directories for names that others are below. The
// index of a mailbox is in .imap, beside the file. With DIRNAME mailboxes are directories with
// a file of that name and the index.
type mboxLayout struct{}

var (
	errNoInferiors       = &Error{Code: CodeCannot, Text: "Mailbox doesn't allow inferior mailboxes"}
	errTargetNoInferiors = &Error{Code: CodeCannot, Text: "Target mailbox doesn't allow inferior mailboxes"}
	errNotSelectable     = &Error{Text: "Mailbox isn't selectable"}
	errOtherVolume       = &Error{Code: CodeCannot, Text: "Can't rename mailboxes across specified storages."}
)

// reservedMbox reports whether a name is none of a mailbox: locks end with .lock.
func (s *storage) reservedMbox(name string) bool {
	if s.dirName != "" {
		return name == s.dirName
	}
	return name == mboxIndexDir || len(name) > len(".lock") && strings.HasSuffix(name, ".lock")
}

// mboxLocation completes the location of a mailbox.
func (s *storage) mboxLocation(disk string, loc *mailbox.Location) {
	loc.File = filepath.Join(s.root, s.mailboxDir, disk, s.dirName)
	if disk == inboxDisk {
		loc.File, disk = s.inbox, inbox
	}
	base := filepath.Join(cmpOr(s.indexOf(loc.File), s.root), s.mailboxDir)
	if s.dirName != "" {
		loc.Dir = filepath.Join(base, disk)
	} else {
		loc.Dir = filepath.Join(base, path.Dir(disk), mboxIndexDir, path.Base(disk))
	}
	loc.IndexDir, loc.ControlDir = "", ""
	if s.indexCache != "" {
		loc.CacheDir = filepath.Join(s.indexCache, s.mailboxDir, path.Dir(disk), mboxIndexDir, path.Base(disk))
	}
	loc.Owner = s.owner
}

// mboxControl returns where the control files of a mailbox would be, of which it has none: with
// its index, if there is no root for them.
func (s *storage) mboxControl(disk, index string) string {
	if s.control == s.root {
		return index
	}
	if disk == inboxDisk {
		disk = inbox
	}
	if s.dirName != "" {
		return filepath.Join(s.control, s.mailboxDir, disk)
	}
	return filepath.Join(s.control, s.mailboxDir, path.Dir(disk), mboxIndexDir, path.Base(disk))
}

// noInferiors reports whether a mailbox can have none below it.
func (s *storage) noInferiors() bool {
	return s.format == "mbox" && s.dirName == "" && s.layout != layoutIndex
}

// missing is the error for a mailbox that is none.
func (p place) missing(name string) error {
	if p.ns.st.format == "mbox" {
		if n, err := p.node(false); err == nil && n.exists {
			return errNotSelectable
		}
	}
	return missingMailbox(name)
}

// indexOf returns the root of the index files of a mailbox. Of one that is too small they last no
// longer than this process; all that they say is in the file then.
func (s *storage) indexOf(file string) string {
	if s.minIndex <= 0 || s.indexMemory {
		return s.index
	}
	if st, err := os.Stat(file); err == nil && st.Size() >= s.minIndex {
		return s.index
	}
	dir, err := memoryIndex(s.root)
	if err != nil {
		return s.index
	}
	return dir
}

// mboxInbox is the file of INBOX where the location does not say.
const mboxInbox = "inbox"

func (mboxLayout) tree(ns *Namespace, globs []glob) (*node, error) {
	root, err := ns.open()
	if err != nil {
		return nil, err
	}
	top := &node{exists: true, name: ns.Prefix}
	w := mboxWalk{treeWalk{ns: ns, root: root, globs: globs}}
	return top, w.grow(top)
}

// An mboxWalk reads the part of a tree of files that globs can match.
type mboxWalk struct{ treeWalk }

func (w *mboxWalk) grow(n *node) error {
	id, err := w.scan(n)
	if err != nil {
		return err
	}
	w.above = append(w.above, id)
	defer func() { w.above = w.above[:len(w.above)-1] }()
	for _, c := range n.children {
		// Whether a directory has something below is told for what is listed.
		if c.noInferiors || !below(w.globs, c.name+string(w.ns.Sep)) && !matches(w.globs, c.name) {
			continue
		}
		if err := w.grow(c); err != nil {
			return err
		}
	}
	return nil
}

// scan reads a directory.
func (w *mboxWalk) scan(n *node) (id dirID, err error) {
	entries, id, err := w.root.readDir(cmpOr(n.disk, "."))
	if err != nil {
		if leadsNowhere(err) {
			return id, nil
		}
		return id, err
	}
	for _, above := range w.above {
		if above == id {
			return id, nil // a link upwards: it has no other names
		}
	}
	for _, e := range entries {
		if err := w.entry(n, e); err != nil {
			return id, err
		}
	}
	n.sort()
	return id, nil
}

func (w *mboxWalk) entry(n *node, e fs.DirEntry) error {
	ns, name := w.ns, e.Name()
	if name == trashDir || name == ns.st.dirName || ns.st.reservedMbox(name) && !ns.st.anyName {
		if name == ns.st.dirName && n.disk != "" {
			n.selectable = isMboxFile(w.root, path.Join(n.disk, name))
		}
		return nil
	}
	if n.disk == "" && (name == ns.st.subscriptions || name == ns.st.listIndex) {
		return nil
	}
	dir := isDirectory(w.root, n.disk, e)
	switch {
	case dir:
	case ns.st.dirName != "" || !isMboxFile(w.root, path.Join(n.disk, name)):
		return nil
	case n.disk == "" && ns.isInboxFile(name):
		return nil // listed as INBOX
	}
	c := ns.child(n, name)
	c.selectable, c.noInferiors = !dir, !dir
	n.children = append(n.children, c)
	return nil
}

// isInboxFile reports whether a file in the root is INBOX, or could only be had by
// that name.
func (ns *Namespace) isInboxFile(name string) bool {
	return filepath.Join(ns.st.boxes(), name) == ns.st.inbox || ns.Inbox && strings.EqualFold(name, inbox)
}

func isMboxFile(root *rootDir, name string) bool {
	st, err := root.Stat(name)
	return err == nil && st.Mode().IsRegular()
}

func (mboxLayout) look(ns *Namespace, n *node, children bool) error {
	root, err := ns.open()
	if err != nil {
		return err
	}
	w := mboxWalk{treeWalk{ns: ns, root: root}}
	if n.disk == inboxDisk {
		st, err := os.Stat(ns.st.inbox)
		n.exists = err == nil && !st.IsDir()
		n.selectable = n.exists
		if !children {
			return nil
		}
		below := &node{name: inbox, disk: inbox}
		_, err = w.scan(below)
		n.children = below.children
		return err
	}
	if isMboxFile(root, n.disk) {
		n.exists, n.selectable, n.noInferiors = true, true, true
		if ns.st.dirName != "" {
			n.selectable = false
		}
		return nil
	}
	n.exists, err = root.isDir(n.disk)
	if err != nil || !n.exists {
		return err
	}
	if ns.st.dirName != "" {
		n.selectable = isMboxFile(root, path.Join(n.disk, ns.st.dirName))
	}
	if children {
		_, err = w.scan(n)
	}
	return err
}

// prepare makes the directory of the file.
func (mboxLayout) prepare(p *place) error {
	if p.disk == inboxDisk {
		return nil
	}
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	if err := p.above(root, errNoInferiors); err != nil {
		return err
	}
	if p.ns.st.dirName != "" {
		return p.ns.mkdirAll(root, p.disk)
	}
	is, err := root.isDir(p.disk)
	if err == nil && is {
		err = errExists
	}
	return err
}

// above makes the directories above a name. If one is a mailbox, the error is in.
func (p place) above(root *rootDir, in error) error {
	dir := path.Dir(p.disk)
	for at := dir; at != "." && at != ""; at = path.Dir(at) {
		if isMboxFile(root, at) {
			return in
		}
	}
	return p.ns.mkdirAll(root, dir)
}

func (mboxLayout) created(_ *User, p place, _ uint32) error {
	p.listCreated(listindex.NoInferiors)
	return nil
}

func (mboxLayout) makeDir(p place) error {
	root, err := p.ns.open()
	if err == nil {
		err = p.above(root, errNoInferiors)
	}
	if err != nil {
		return err
	}
	return fsLayout{}.makeDir(p)
}

// removed removes the directories that are empty now.
func (mboxLayout) removed(_ *User, p place, n *node) error {
	defer p.listDeleted(false)
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	if !n.selectable || p.ns.st.dirName != "" {
		root.Remove(path.Join(p.disk, mboxIndexDir)) //nolint:errcheck // there need not be one
		if err := root.Remove(p.disk); err != nil && !n.selectable {
			return errHasChildren
		}
		p.ns.logChange(changeDeleteDir, nameGUID(p.name))
	}
	if p.ns.st.noNoselect {
		p.ns.removeEmptyMbox(root, path.Dir(p.disk))
	}
	return nil
}

// removeEmptyMbox removes directories, upwards, that have nothing but an empty one for
// indexes in them.
func (ns *Namespace) removeEmptyMbox(root *rootDir, dir string) {
	for ; dir != "." && dir != ""; dir = path.Dir(dir) {
		root.Remove(path.Join(dir, mboxIndexDir)) //nolint:errcheck // there need not be one
		if root.Remove(dir) != nil {
			return
		}
	}
}

func (mboxLayout) rename(u *User, src, dst place) error {
	root, err := src.ns.open()
	if err != nil {
		return err
	}
	from, err := src.node(false)
	if err != nil {
		return err
	}
	to, err := dst.node(false)
	switch {
	case err != nil:
		return err
	case to.exists || dst.disk == inboxDisk:
		return errTargetExists
	case !from.exists && src.isAuto():
		from.selectable = true
		err = touch(src.location().File)
	case !from.exists:
		err = missing(src.name)
	}
	if err != nil {
		return err
	}
	if err := dst.above(root, errTargetNoInferiors); err != nil {
		return err
	}
	if from.selectable && src.ns.st.dirName == "" {
		err = u.renameFile(src, dst)
	} else {
		err = u.renameDir(root, src, dst)
	}
	if err != nil {
		return err
	}
	if src.disk != inboxDisk {
		src.ns.removeEmptyMbox(root, path.Dir(src.disk))
	}
	listRenamed(src, dst)
	dst.ns.logChange(changeRename, nameGUID(dst.name))
	return nil
}

// renameFile renames a mailbox and its index.
func (u *User) renameFile(src, dst place) error {
	a, b := src.location(), dst.location()
	err := os.Rename(a.File, b.File)
	if errors.Is(err, syscall.EXDEV) {
		return errOtherVolume // only INBOX= can be on another one
	}
	if err != nil {
		return err
	}
	if err = os.MkdirAll(filepath.Dir(b.Dir), 0o700); err == nil {
		err = os.Rename(a.Dir, b.Dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		u.log.Errorf("Mailbox %s: %v", dst.name, err) // what is in the index and not in the file is lost
	}
	u.pool.Renamed(a, b)
	return nil
}

// renameDir renames a directory with all that is in it.
func (u *User) renameDir(root *rootDir, src, dst place) error {
	moved := &node{name: src.name, disk: src.disk, exists: true}
	w := mboxWalk{treeWalk{ns: src.ns, root: root, globs: []glob{newGlob("*", src.ns.Sep, false)}}}
	if err := w.grow(moved); err != nil {
		return err
	}
	if err := root.Rename(src.disk, dst.disk); err != nil {
		if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
			return errTargetExists
		}
		return err
	}
	renameBeside(src, dst)
	u.renamed(src, dst, moved)
	return nil
}
