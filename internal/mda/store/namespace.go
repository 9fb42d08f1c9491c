package store

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
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

	subscriptions bool
	st            *storage
	boxes         map[string]*MailboxSetting // by name without prefix
	order         []string                   // of boxes, as configured

	mu   sync.Mutex
	root *os.Root // the directory of the mailboxes, once it was needed
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
	if ns.Inbox && name == inbox {
		return inbox
	}
	return strings.TrimPrefix(name, ns.Prefix)
}

// full adds the prefix.
func (ns *Namespace) full(relative string) string {
	if ns.Inbox && relative == inbox {
		return inbox
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
func (ns *Namespace) open() (*os.Root, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.root != nil {
		return ns.root, nil
	}
	dir := ns.st.boxes()
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := ns.makeRoot(); err != nil {
			return nil, err
		}
		root, err = os.OpenRoot(dir)
	}
	ns.root = root
	return root, err
}

// makeRoot makes the directories that must exist before anything else.
func (ns *Namespace) makeRoot() error {
	for _, dir := range [...]string{ns.st.boxes(), ns.st.control, ns.st.index} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (ns *Namespace) close() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.root != nil {
		ns.root.Close()
		ns.root = nil
	}
}
