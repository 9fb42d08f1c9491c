package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The files and directories of a mailbox have the permissions of the directory that was
// there before them, so that the mailboxes of a group stay the group's. Files lack the x bits.

// permissions are those of new directories and files.
type permissions struct {
	dir, file fs.FileMode
	gid       int // -1 where the system gives them the right group
}

// defaultPermissions are those where nothing is to take them from.
var defaultPermissions = permissions{dir: 0o700, file: 0o600, gid: -1}

func permissionsFrom(st fs.FileInfo) permissions {
	mode := st.Mode()
	p := permissions{dir: mode.Perm() | mode&fs.ModeSetgid | 0o700, file: mode.Perm()&0o666 | 0o600, gid: -1}
	if !st.IsDir() {
		p.dir |= p.dir >> 2 & 0o111 // who may read may enter
		p.dir |= p.dir >> 1 & 0o111
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok, st.IsDir() && mode&fs.ModeSetgid != 0: // new files get the group by themselves
	case mode>>3&0o7 == mode&0o7: // the group may do what all may
	case int(sys.Gid) != unix.Getegid():
		p.gid = int(sys.Gid)
	}
	return p
}

// permissionsOf returns those for what is made in a directory.
func permissionsOf(root *rootDir, dir string) (permissions, error) {
	st, err := root.Stat(dir)
	if err != nil {
		return defaultPermissions, err
	}
	return permissionsFrom(st), nil
}

// apply gives a new directory below root its permissions, whatever the umask took from them.
func (p permissions) apply(root *os.Root, dir string) error {
	if p.dir == 0o700 {
		return nil
	}
	if err := root.Chmod(dir, p.dir); err != nil {
		return err
	}
	if p.gid < 0 {
		return nil
	}
	return root.Chown(dir, -1, p.gid)
}

// applyTo is apply for any directory.
func (p permissions) applyTo(dir string) error {
	if p.dir == 0o700 {
		return nil
	}
	if err := os.Chmod(dir, p.dir); err != nil || p.gid < 0 {
		return err
	}
	return os.Chown(dir, -1, p.gid)
}

// createFile opens a file, which gets the permissions of its directory if it has to be made.
func createFile(path string, flags int) (*os.File, error) {
	for try := 0; ; try++ {
		f, err := os.OpenFile(path, flags&^(os.O_CREATE|os.O_EXCL)|unix.O_NONBLOCK, 0)
		if flags&os.O_EXCL == 0 && !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if err == nil {
			f.Close()
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
		}
		f, err = os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) && flags&os.O_EXCL == 0 && try < 10 {
			continue // made meanwhile; not for ever: it may be a symlink to nothing
		}
		if err != nil {
			return nil, err
		}
		st, err := os.Stat(filepath.Dir(path))
		if err == nil {
			err = permissionsFrom(st).applyFile(f)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
}

// applyFile gives a new file its permissions.
func (p permissions) applyFile(f *os.File) error {
	if p.file == 0o600 {
		return nil
	}
	if err := f.Chmod(p.file); err != nil || p.gid < 0 {
		return err
	}
	return f.Chown(-1, p.gid)
}

// makeDirs makes the directories of a mailbox that is about to be made. Only the one that
// makes it a mailbox is missing then.
func (p place) makeDirs() error {
	if p.disk == inboxDisk {
		// Elsewhere than its name says. Where, the configuration says.
		dir := p.location().Dir
		if !p.ns.st.inboxInRoot || p.ns.st.format == "mbox" {
			dir = filepath.Dir(dir)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return p.makeBeside(defaultPermissions)
	}
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	if err := p.ns.mkdirAll(root, p.disk); err != nil {
		return err
	}
	perm, err := permissionsOf(root, p.disk)
	if err != nil {
		return err
	}
	return p.makeBeside(perm)
}

// makeBeside makes the directories of a mailbox outside of the mail root.
func (p place) makeBeside(perm permissions) error {
	loc := p.location()
	for _, dir := range []string{loc.IndexDir, loc.CacheDir, loc.ControlDir} {
		if dir == "" || isDirPath(dir) {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := perm.applyTo(dir); err != nil {
			return err
		}
	}
	return nil
}
