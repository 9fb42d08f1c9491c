package mailbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
)

// removeAll removes the directories of a deleted mailbox. The message directory
// is first renamed: a mailbox of that name may be made at once, and one that is
// half removed must not be seen.
func (b *box) removeAll() error {
	for _, path := range []string{b.loc.AltDir, b.loc.IndexDir} {
		if path != "" && path != b.loc.Dir {
			if err := removeFilesOf(path); err != nil {
				return err
			}
		}
	}
	if r, ok := b.store.(Remover); ok {
		return r.RemoveAll()
	}
	if b.toTrash() == nil {
		return os.RemoveAll(b.loc.TrashDir) // with what killed deletions left there
	}
	trash := b.loc.Dir + dbox.TempName()
	if err := os.Rename(b.loc.Dir, trash); err != nil {
		return err
	}
	return os.RemoveAll(trash)
}

// errNoTrash is returned where there is no directory for mailboxes on their way out.
var errNoTrash = errors.New("no trash directory")

// toTrash moves the message directory out of the tree of mailboxes. That fails where
// it is on another volume, or the root belongs to somebody else.
func (b *box) toTrash() error {
	if b.loc.TrashDir == "" {
		return errNoTrash
	}
	if err := os.MkdirAll(b.loc.TrashDir, 0o700); err != nil {
		return err
	}
	return os.Rename(b.loc.Dir, filepath.Join(b.loc.TrashDir, dbox.TempName()))
}

// removeFilesOf removes the files of a directory that children of the mailbox
// may share, and the directory if that leaves it empty.
func removeFilesOf(path string) error {
	entries, err := os.ReadDir(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if err := os.Remove(path + "/" + e.Name()); err != nil {
			return err
		}
	}
	_ = os.Remove(path)
	return nil
}

// ownFiles are the files, besides messages, that only concern the mailbox they lie in.
var ownFiles = []string{"dovecot.index*", "dovecot-uidlist*", "dovecot-keywords*"}

// removeOwnFiles removes them from a directory, where others may lie beside them.
func removeOwnFiles(dir string) error {
	var errs []error
	for _, pattern := range ownFiles {
		names, err := filepath.Glob(filepath.Join(escapeGlob(dir), pattern))
		errs = append(errs, err)
		for _, name := range names {
			errs = append(errs, os.Remove(name))
		}
	}
	return errors.Join(errs...)
}

// removeLeftovers removes what was left of a mailbox whose deletion was cut off after its
// messages were gone.
func removeLeftovers(loc *Location) error {
	var errs []error
	for _, dir := range []string{loc.indexDir(), loc.CacheDir, loc.ControlDir, loc.Dir} {
		if dir != "" {
			errs = append(errs, removeOwnFiles(dir))
		}
	}
	return errors.Join(errs...)
}

// escapeGlob makes a path a pattern that matches nothing else.
var escapeGlob = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace
