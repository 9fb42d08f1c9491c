package store

import (
	"os"
	"path/filepath"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// inboxDisk stands for an INBOX that is not where its name says: at INBOX= of the location, or
// the root of a Maildir.
const inboxDisk = "."

// boxes returns the directory that holds the mailboxes.
func (s *storage) boxes() string { return filepath.Join(s.root, s.mailboxDir) }

// scanned returns the directory in which names are looked for.
func (s *storage) scanned() string {
	if s.iterIndex {
		return filepath.Join(s.index, s.mailboxDir)
	}
	return s.boxes()
}

// listRoot returns the directory of the files about the list as a whole
// (mailboxes.lock, dovecot.mailbox.log).
func (s *storage) listRoot() string {
	switch {
	case s.format == "mbox" && !s.indexMemory:
		return filepath.Join(cmpOr(s.index, s.root), mboxIndexDir)
	case s.index != "" && !s.indexMemory:
		return s.index
	}
	return s.root
}

// controlRoot returns the directory of dovecot-uidvalidity.
func (s *storage) controlRoot() string {
	if s.format == "mbox" && s.control == s.root {
		return filepath.Join(s.root, mboxIndexDir)
	}
	return s.control
}

// listIndexPath returns the path of dovecot.list.index, "" if there is none.
func (s *storage) listIndexPath() string {
	switch {
	case s.listIndex == "":
		return ""
	case filepath.IsAbs(s.listIndexDir):
		return filepath.Join(s.listIndexDir, s.listIndex)
	case s.indexMemory:
		return ""
	}
	return filepath.Join(s.listRoot(), s.listIndexDir, s.listIndex)
}

// mboxIndexDir is where mbox has the index files of the mailboxes beside it.
const mboxIndexDir = ".imap"

// location returns where the mailbox with the given path below the directory of
// the mailboxes lies.
func (s *storage) location(disk, name string) mailbox.Location {
	loc := mailbox.Location{Format: s.format, Name: name}
	if disk == "" {
		return loc // LAYOUT=index: there is none of this name. No directory is "".
	}
	switch {
	case disk != inboxDisk:
		loc.Dir = filepath.Join(s.root, s.mailboxDir, disk, s.dirName)
	case s.inbox != "":
		loc.Dir = s.inbox
	default:
		loc.Dir = s.root
	}
	was := disk
	disk = s.beside(disk)
	loc.IndexDir = s.under(s.index, disk)
	loc.CacheDir = s.under(s.indexCache, disk)
	loc.PrivateDir, loc.Public = s.under(s.indexPrivate, disk), s.public
	if s.control != s.root {
		loc.ControlDir = s.under(s.control, disk)
	}
	if s.format == "mbox" {
		s.mboxLocation(was, &loc)
		return loc
	}
	if loc.OwnIndex = s.format == "maildir" && s.index != "" && !s.indexMemory; s.format != "maildir" {
		loc.TrashDir = filepath.Join(s.root, trashDir)
	}
	if s.format == "mdbox" {
		loc.DiskName = disk
		loc.Storage = &mailbox.Storage{Root: s.root, IndexDir: s.index, AltDir: s.alt, Boxes: s.mailboxDir, DirName: s.dirName}
		if s.fullDirName {
			loc.Storage.IndexName = s.dirName
		}
		return loc
	}
	if s.alt != "" {
		loc.AltDir = filepath.Join(s.alt, s.mailboxDir, disk, s.dirName)
	}
	return loc
}

// under returns the directory of a mailbox below another root than that of the mail, "" if
// there is no such root.
func (s *storage) under(root, disk string) string {
	if root == "" {
		return ""
	}
	dir := filepath.Join(root, s.mailboxDir, disk)
	if s.fullDirName {
		dir = filepath.Join(dir, s.dirName)
	}
	return dir
}

// beside returns the path of a mailbox below the roots of index and control files.
func (s *storage) beside(disk string) string {
	switch {
	case disk != inboxDisk:
		return disk
	case s.inRoot():
		return "." + inbox
	}
	return inbox
}

// altLink is the name of the symbolic link to the second storage of a dbox.
const altLink = "dbox-alt-root"

// checkAlt makes the link to the second storage, by which an administrator and Dovecot notice
// that mail was stored with another one. It returns what to warn of.
func (s *storage) checkAlt() (warning string, err error) {
	if s.altNoCheck || s.format != "sdbox" && s.format != "mdbox" {
		return "", nil
	}
	path := filepath.Join(s.root, altLink)
	was, err := os.Readlink(path)
	switch {
	case os.IsNotExist(err) && s.alt == "", err == nil && was == s.alt:
		return "", nil
	case err != nil && !os.IsNotExist(err):
		return "", err
	case err == nil && s.alt == "":
		warning = "dbox " + s.root + ": Original ALT=" + was + ", but currently no ALT path set"
	case err == nil && was != filepath.Join(s.alt, s.mailboxDir): // as old versions made it
		warning = "dbox " + s.root + ": Original ALT=" + was + ", but currently ALT=" + s.alt
	}
	if err == nil {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return warning, err
		}
	}
	if s.alt == "" {
		return warning, nil
	}
	if err = os.MkdirAll(s.root, 0o700); err == nil {
		err = os.Symlink(s.alt, path)
	}
	if os.IsExist(err) {
		err = nil
	}
	return warning, err
}

// listIndexName is the name of the list index unless LISTINDEX says otherwise.
const listIndexName = "dovecot.list.index"
