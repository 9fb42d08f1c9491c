package store

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// A rootDir is a directory that no name leads out of. What is done for every mailbox of a
// list costs one system call, however deep it lies; all else is [os.Root]'s.
type rootDir struct {
	*os.Root
	top *os.File
}

// A dirID tells directories apart.
type dirID struct{ dev, ino uint64 }

func openRootDir(dir string) (*rootDir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	top, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &rootDir{root, top}, nil
}

// Close closes the directory.
func (r *rootDir) Close() error {
	return errors.Join(r.top.Close(), r.Root.Close())
}

// openDir opens a directory below the root.
func (r *rootDir) openDir(name string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	for {
		fd, err := unix.Openat2(int(r.top.Fd()), name, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			return r.openSlowly(name) // an old kernel or container
		case !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN):
			return nil, &fs.PathError{Op: "open", Path: path.Join(r.Name(), name), Err: err}
		}
	}
}

func (r *rootDir) openSlowly(name string) (*os.File, error) {
	f, err := r.Root.Open(name)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.IsDir() {
		f.Close()
		return nil, errOr(err, &fs.PathError{Op: "open", Path: path.Join(r.Name(), name), Err: unix.ENOTDIR})
	}
	return f, nil
}

// isDir reports whether the name leads to a directory below the root.
func (r *rootDir) isDir(name string) (bool, error) {
	f, err := r.openDir(name, unix.O_PATH)
	if err == nil {
		return true, f.Close()
	}
	if leadsNowhere(err) {
		return false, nil
	}
	return false, err
}

// readDir returns what is in a directory, in no order.
func (r *rootDir) readDir(name string) ([]fs.DirEntry, dirID, error) {
	f, err := r.openDir(name, unix.O_RDONLY)
	if err != nil {
		return nil, dirID{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, dirID{}, err
	}
	entries, err := f.ReadDir(-1)
	return entries, dirID{st.Dev, st.Ino}, err
}

// leadsNowhere reports whether there is no directory of a name, which may also be a file, a
// link that leads out of the root or in a circle, or be too long.
func leadsNowhere(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.ENAMETOOLONG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// mkdirAll makes a directory and those above it, with the permissions of the first that is
// there.
func (ns *Namespace) mkdirAll(root *rootDir, dir string) error {
	missing := []string{}
	for at := dir; at != "." && at != ""; at = path.Dir(at) {
		is, err := root.isDir(at)
		if err != nil {
			return err
		}
		if is {
			break
		}
		missing = append(missing, at)
	}
	if len(missing) == 0 {
		return nil
	}
	perm, err := permissionsOf(root, path.Dir(missing[len(missing)-1]))
	if err != nil {
		return err
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := root.Mkdir(missing[i], perm.dir.Perm()); err != nil {
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			return err
		}
		if err := perm.apply(root.Root, missing[i]); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes a directory and, while they are empty, those above it.
func (ns *Namespace) removeEmpty(root *rootDir, dir string) {
	for dir != "." && dir != "" {
		if root.Remove(dir) != nil {
			return
		}
		i := strings.LastIndexByte(dir, '/')
		dir = dir[:max(i, 0)]
	}
}
