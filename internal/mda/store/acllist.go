package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// aclListFile says, for Dovecot, which mailboxes of a namespace have entries: "TIME NAME" per
// line. The server itself looks at the lists; it writes the file so that the original, beside it or after
// it, finds what is shared.
const aclListFile = "dovecot-acl-list"

// aclListPath returns where it is, "" for nowhere.
func (a *access) aclListPath(ns *Namespace) string {
	if a.globalsOnly || ns.unusable {
		return ""
	}
	if ns.st.format == "mbox" {
		return filepath.Join(ns.st.controlRoot(), aclListFile)
	}
	return filepath.Join(ns.st.boxes(), aclListFile)
}

// storageName is a mailbox's name in files of the namespace.
func (ns *Namespace) storageName(name string) string {
	if ns.st.escapesDirs() {
		return strings.Join(ns.subscriptionParts(name), string(ns.st.separator()))
	}
	relative := ns.relative(name)
	if sep := ns.st.separator(); sep != ns.Sep {
		relative = strings.ReplaceAll(relative, string(ns.Sep), string(sep))
	}
	return EncodeMUTF7(relative)
}

// eachACL calls fn with the mailboxes of a namespace that have entries.
func (a *access) eachACL(ns *Namespace, fn func(p place, l acl.List)) error {
	top, err := ns.tree([]glob{newGlob("*", ns.Sep, true)})
	if err != nil {
		return err
	}
	var errs []error
	top.each(func(n *node) {
		if !n.selectable || n.disk == "" && n.name != inbox {
			return
		}
		p, err := a.u.resolve(n.name)
		if err != nil || p.ns != ns {
			return
		}
		l, err := a.entries(p)
		if err != nil {
			errs = append(errs, err)
		} else if len(l) > 0 {
			fn(p, l)
		}
	})
	return errors.Join(errs...)
}

// rebuildList writes the list of a namespace, and then the dictionary. Neither decides who may do what: a
// failure is only logged.
func (a *access) rebuildList(ctx context.Context, ns *Namespace) {
	if err := a.writeList(ns); err != nil {
		a.u.log.Errorf("%s: %v", aclListFile, err)
	}
	if err := a.rebuildDict(ctx); err != nil {
		a.u.log.Errorf("acl_shared_dict: %v", err)
	}
}

func (a *access) writeList(ns *Namespace) error {
	path := a.aclListPath(ns)
	if path == "" || !a.checks(ns) {
		return nil
	}
	var text []byte
	err := a.eachACL(ns, func(p place, _ acl.List) {
		var mtime int64
		if st, err := os.Stat(filepath.Join(p.aclDir(), aclFile)); err == nil {
			mtime = st.ModTime().Unix()
		}
		text = strconv.AppendInt(text, mtime, 10)
		text = append(append(append(text, ' '), ns.storageName(p.name)...), '\n')
	})
	if err != nil {
		return errors.Join(err, os.Remove(path)) // who needs it makes it anew
	}
	return replaceShared(path, text)
}

// replaceShared replaces a file that may be another user's. Without the permission to, it stays.
func replaceShared(path string, data []byte) error {
	tmp := fmt.Sprintf("%s.%s.%s", path, hostname(), pid)
	f, err := createFile(tmp, os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp) //nolint:errcheck // the first error tells more
	}
	return err
}
