package pickup

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// claim renames a file to the queue ID of the message that it becomes. Should the
// process die between the commit and the removal of the file, the next one sees
// by its name that the message is in the queue: see package takeover, which removes
// the file then. If it cannot be renamed, it stays what it is.
func (s *submission) claim(dir, id string) {
	path := filepath.Join(dir, id)
	if unix.Renameat2(unix.AT_FDCWD, s.path, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE) == nil {
		s.path = path
	}
}
