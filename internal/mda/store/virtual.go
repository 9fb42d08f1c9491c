package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/virtual"
)

// formatVirtual is the format of mailboxes that show the messages of others. A namespace of such mailboxes does not
// keep users from logging in; its names are listed as ones that cannot be selected, and are not opened: see package
// virtual. Nothing but subscriptions is ever written below their root, so that Dovecot finds there what it left.
const formatVirtual = "virtual"

var (
	errVirtual       = &Error{Code: CodeCannot, Text: "Virtual mailboxes can't be opened by this version of Dovetail"}
	errVirtualCreate = &Error{Code: CodeCannot, Text: "Can't create virtual mailboxes"}
	errVirtualChange = &Error{Code: CodeCannot, Text: "Virtual mailboxes can't be changed by this version of Dovetail"}
)

func (s *storage) isVirtual() bool { return s.format == formatVirtual }

// checkVirtual refuses a namespace of virtual mailboxes where there can be none. Without the plugin Dovecot
// does not know the format.
func (ns *Namespace) checkVirtual() error {
	switch {
	case !ns.st.isVirtual():
		return nil
	case !strings.Contains(ns.set.Plugins, formatVirtual) || !slices.Contains(strings.Fields(ns.set.Plugins), formatVirtual):
		return errors.New("Unknown mail storage driver " + formatVirtual)
	case ns.Inbox:
		return errors.New("INBOX can't be a virtual mailbox in this version of Dovetail")
	}
	return nil
}

// refuseVirtual says why a virtual mailbox is not opened: there is none, its file has a mistake, or it cannot be
// done. Who may not know of it was told so before.
func (u *User) refuseVirtual(p place, name string) error {
	root, err := p.ns.open()
	if err != nil {
		return internal(err)
	}
	// Whatever has the name must not keep the session waiting.
	f, err := root.OpenFile(path.Join(p.disk, virtual.FileName), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || err != nil && leadsNowhere(err) {
		return missingMailbox(name)
	}
	if err == nil {
		defer f.Close()
		err = u.checkVirtualFile(f, p.name)
	}
	if err != nil {
		file := filepath.Join(p.ns.st.boxes(), p.disk, virtual.FileName)
		return internal(fmt.Errorf("Mailbox %s: %s: %w", p.name, file, err))
	}
	return errVirtual
}

// checkVirtualFile looks for mistakes in the file of the virtual mailbox with the full name self.
func (u *User) checkVirtualFile(f *os.File, self string) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	_, err = virtual.Parse(f, &virtual.Env{Self: self, HasNamespace: func(name string) bool { return u.namespaceOf(name) != nil }})
	return err
}
