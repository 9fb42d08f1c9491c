package takeover

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// dropStaleLogs removes the logs of messages that are not in Postfix's queue
// anymore: a takeover that was killed may have left some, and so may Postfix. They
// mean nothing, but would be taken for those of a later message with that ID.
func (t *run) dropStaleLogs() error {
	waiting := make(map[string]bool)
	for _, q := range append([]string{"maildrop", "corrupt", "saved"}, queues...) {
		err := eachFile(filepath.Join(t.c.Dir, q), func(path string) error {
			waiting[filepath.Base(path)] = true
			t.c.progress()
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, log := range logNames {
		err := eachFile(filepath.Join(t.c.Dir, log), func(path string) error {
			if waiting[filepath.Base(path)] {
				return nil
			}
			t.c.progress()
			return removeStale(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachFile calls do for all that is no directory below one that may not be there.
func eachFile(dir string, do func(path string) error) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return do(path)
	})
}
