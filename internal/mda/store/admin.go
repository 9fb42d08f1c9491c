package store

import (
	"context"
	"path/filepath"
)

// What only administrators ask for.

// OnDisk reports whether the mailbox is there. Other than [User.Exists] it does
// not count those that are made when they are needed.
func (u *User) OnDisk(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	p, err := u.resolve(name)
	if err != nil {
		return false, err
	}
	made, err := u.made(p.ns, p.name)
	return made, internal(err)
}

// SubscribeName adds a name to the subscriptions, whether or not there is such a
// mailbox.
func (u *User) SubscribeName(ctx context.Context, name string) error {
	p, err := u.resolve(name)
	if err != nil {
		return err
	}
	return internal(u.setSubscribed(ctx, p, true))
}

// Path returns a directory of a mailbox, which need not exist: "dir",
// "mailbox" (that of the messages), "alt-dir", "alt-mailbox", "control", "index" or
// "index-private". It is empty if the mailbox has no such directory.
func (u *User) Path(name, kind string) (string, error) {
	p, err := u.resolve(name)
	if err != nil {
		return "", err
	}
	st, loc := p.ns.st, p.location()
	outer := func(dir string) string {
		if st.dirName == "" || dir == "" {
			return dir
		}
		return filepath.Dir(dir)
	}
	switch kind {
	case "dir":
		return cmpOr(loc.File, outer(loc.Dir)), nil
	case "mailbox":
		return cmpOr(loc.File, loc.Dir), nil
	case "alt-dir", "alt-mailbox":
		alt := loc.AltDir
		if s := loc.Storage; s != nil && s.AltDir != "" {
			alt = filepath.Join(s.AltDir, s.Boxes, loc.DiskName, s.DirName)
		}
		if kind == "alt-dir" {
			alt = outer(alt)
		}
		return alt, nil
	case "control":
		if st.format == "mbox" {
			return st.mboxControl(p.disk, loc.Dir), nil
		}
		return cmpOr(loc.ControlDir, loc.Dir), nil
	case "index-private":
		return loc.PrivateDir, nil
	case "index":
		if st.indexMemory {
			return "", nil
		}
		return cmpOr(loc.IndexDir, loc.Dir), nil
	}
	return "", nil
}
