package mailbox

import (
	"os"

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
	trash := b.loc.Dir + dbox.TempName()
	if err := os.Rename(b.loc.Dir, trash); err != nil {
		return err
	}
	return os.RemoveAll(trash)
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
