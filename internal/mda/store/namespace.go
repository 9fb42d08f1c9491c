package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Type is who a namespace belongs to (RFC 2342).
type Type uint8

// The classes of namespaces.
const (
	Private Type = iota
	Shared
	Public
)

// ListMode says whether LIST shows a namespace's mailboxes.
type ListMode uint8

// The values of the setting "list".
const (
	ListYes      ListMode = iota
	ListNo                // only where the pattern names the prefix
	ListChildren          // the prefix itself only where mailboxes exist
)

// A Namespace is a part of a user's mailbox names with one location.
type Namespace struct {
	Name   string // of the configuration section
	Type   Type
	Prefix string // UTF-8, with the separator at its end
	Sep    byte
	Inbox  bool // INBOX lives here
	Hidden bool // not in NAMESPACE replies
	List   ListMode
	Order  uint32

	log           *maillog.Logger
	set           *mailbox.Settings
	conf          *Settings
	subscriptions bool
	owner         string      // of a shared one: that other user
	charged       ownerQuota  // of him
	inboxAny      bool        // another user's: the prefix is his INBOX
	unusable      bool        // nothing can be in it
	shared        *sharedRoot // those of all other users
	aliasFor      *Namespace  // whose mailboxes have another name here
	st            *storage
	boxes         map[string]*MailboxSetting // by name without prefix
	order         []string                   // of boxes, as configured

	mu       sync.Mutex
	root     *rootDir // the directory of the mailboxes, once it was needed
	scanRoot *rootDir // ITERINDEX: that of the index files
	list     *sharedList
}

// Setting returns the "mailbox" section of the full name, or nil.
func (ns *Namespace) Setting(name string) *MailboxSetting {
	return ns.boxes[ns.relative(name)]
}

// auto returns the section of the full name if the mailbox is to exist by itself.
func (ns *Namespace) auto(name string) *MailboxSetting {
	if box := ns.Setting(name); box != nil && box.Auto != "no" {
		return box
	}
	return nil
}

// relative removes the prefix. INBOX of a namespace with a prefix has none.
func (ns *Namespace) relative(name string) string {
	if ns.Inbox && name == inbox || ns.inboxAny && name == ns.prefixName() {
		return inbox
	}
	return strings.TrimPrefix(name, ns.Prefix)
}

// full adds the prefix.
func (ns *Namespace) full(relative string) string {
	switch {
	case relative != inbox:
	case ns.Inbox:
		return inbox
	case ns.inboxAny:
		return ns.prefixName()
	}
	return ns.Prefix + relative
}

// prefixName is the name of the prefix as a mailbox: without the separator.
func (ns *Namespace) prefixName() string {
	if ns.Prefix == "" {
		return ""
	}
	return strings.TrimSuffix(ns.Prefix, string(ns.Sep))
}

// open returns the directory of the mailboxes, made if it is missing.
func (ns *Namespace) open() (*rootDir, error) { return ns.openRoot(&ns.root, ns.st.boxes()) }

// openScanned returns the directory in which names are looked for.
func (ns *Namespace) openScanned() (*rootDir, error) {
	if !ns.st.iterIndex {
		return ns.open()
	}
	return ns.openRoot(&ns.scanRoot, ns.st.scanned())
}

func (ns *Namespace) openRoot(at **rootDir, dir string) (*rootDir, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if *at != nil {
		return *at, nil
	}
	if ns.unusable {
		return nil, fmt.Errorf("namespace %s: %w", ns.Prefix, fs.ErrNotExist)
	}
	root, err := openRootDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := ns.makeRoot(dir); err != nil {
			return nil, err
		}
		root, err = openRootDir(dir)
	}
	if err != nil {
		return nil, err
	}
	*at = root
	if at == &ns.root {
		ns.checkAlt()
	}
	return root, nil
}

// checkAlt sees to the link to the second storage.
func (ns *Namespace) checkAlt() {
	warning, err := ns.st.checkAlt()
	if warning != "" {
		ns.log.Warningf("%s", warning)
	}
	if err != nil {
		ns.log.Errorf("%v", err) // mail is found without the link
	}
}

// makeRoot makes the directories that must exist before anything else.
func (ns *Namespace) makeRoot(dir string) error {
	perm := defaultPermissions
	if st, err := os.Stat(ns.st.root); err == nil {
		perm = permissionsFrom(st)
	}
	for _, dir := range [...]string{dir, ns.st.control, ns.st.listRoot()} {
		if isDirPath(dir) {
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

// ensure makes the directories of files about the list if this one is missing: who has made the
// mail, another program or another user, need not have made them.
func (ns *Namespace) ensure(dir string) error {
	if isDirPath(dir) {
		return nil
	}
	return ns.makeRoot(ns.st.boxes())
}

func (ns *Namespace) close() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for _, root := range []**rootDir{&ns.root, &ns.scanRoot} {
		if *root != nil {
			(*root).Close()
			*root = nil
		}
	}
	if ns.list != nil {
		sharedLists.release(ns.list)
		ns.list = nil
	}
}

// listIndex returns the list index. It must have a path.
func (ns *Namespace) listIndex() *sharedList {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.list == nil {
		opt := listindex.Options{Authoritative: ns.st.layout == layoutIndex}
		opt.Index.Log, opt.Index.NoSync = ns.log, !opt.Authoritative || ns.set.Fsync == "never"
		opt.Index.LockMethod, opt.Index.LockTimeout = index.LockMethod(ns.set.LockMethod), ns.set.MaxLockTimeout
		ns.list = sharedLists.take(ns.st.listIndexPath(), opt)
	}
	return ns.list
}
