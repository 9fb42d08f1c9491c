package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// readRegular reads a small file of the mailbox root. fs.ErrNotExist also for something else of that
// name, which is renamed, so that the file can be made anew.
func readRegular(path string, limit int64) ([]byte, error) {
	dir, err := index.OpenDir(filepath.Dir(path))
	if errors.Is(err, index.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, _, err := dir.OpenRegular(filepath.Base(path), unix.O_RDONLY)
	switch {
	case errors.Is(err, index.ErrNotExist):
		if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSymlink != 0 { // to nothing
			return nil, errors.Join(dir.SetAside(filepath.Base(path)), fs.ErrNotExist)
		}
		return nil, fs.ErrNotExist
	case errors.Is(err, index.ErrDamaged):
		return nil, errors.Join(dir.SetAside(filepath.Base(path)), fs.ErrNotExist)
	case err != nil:
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
