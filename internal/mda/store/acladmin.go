package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dotlock"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A MailboxACL is what commands about access lists need to know of a mailbox.
type MailboxACL struct {
	Name   string
	Type   Type          // of its namespace
	Who    *acl.Identity // the user
	Mine   acl.Set       // what the list lets the user do
	May    acl.Set       // likewise, or everything where lists are not checked
	Exists bool          // it can be selected, by whom else it may be

	p place
	a *access
}

// HasACL reports whether there are access lists.
func (u *User) HasACL() bool { return u.access != nil }

// AnyoneACL reports whether users may give rights to everybody.
func (u *User) AnyoneACL() bool { return u.access != nil && u.access.anyone }

// ACLOf looks up who may do what in a mailbox. The user need have no rights in it: the caller looks at Mine.
func (u *User) ACLOf(ctx context.Context, name string) (*MailboxACL, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if u.access == nil {
		return nil, errors.New("ACLs disabled")
	}
	p, err := u.resolve(name)
	if err != nil {
		return nil, err
	}
	m := &MailboxACL{Name: p.name, Type: p.ns.Type, Who: u.access.identity(p.ns), p: p, a: u.access}
	if m.Mine, err = u.access.listed(p); err != nil {
		return nil, internal(err)
	}
	if m.May = m.Mine; !u.access.checks(p.ns) {
		m.May.Bits = acl.All
	}
	m.Exists, err = u.exists(p)
	return m, internal(err)
}

// List returns the entries about the mailbox.
func (m *MailboxACL) List() (acl.List, error) {
	l, err := m.a.entries(m.p)
	return l, internal(err)
}

// aclLock are the times of Dovecot's lock on a list.
var aclLock = dotlock.Options{Timeout: 30 * time.Second, Stale: 120 * time.Second}

// aclAttribute begins the names under which other servers hear of changed entries.
const aclAttribute = "vendor/vendor.dovecot/pvt/acl/"

// Update changes an entry. Whether the user may do that, the caller has looked at.
func (m *MailboxACL) Update(ctx context.Context, change *acl.Update) error {
	// A line end in a name would become an entry of its own, with rights that nobody gave.
	if strings.ContainsAny(change.ID.Name, "\r\n\x00") || slices.ContainsFunc(slices.Concat(change.Rights, change.Negative), func(r string) bool { return strings.ContainsAny(r, " \t,\r\n\x00") }) {
		return &Error{Code: CodeCannot, Text: "Invalid identifier"}
	}
	box, err := m.a.u.openFor(ctx, m.Name, toGovern)
	if err != nil {
		return err
	}
	defer box.Close()
	if m.p, err = m.a.u.resolve(m.Name); err != nil { // it may have got its directory just now
		return err
	}
	l, changed, err := m.write(ctx, func(l acl.List) (acl.List, bool) { return l.Apply(change) })
	if err != nil {
		m.a.u.log.Errorf("Mailbox %s: Failed to set ACL: %v", m.Name, err)
		return &Error{Text: "Internal error occurred. Refer to server log for more information.", Err: err}
	}
	there := slices.ContainsFunc(l, func(e acl.Entry) bool { return e.ID == change.ID })
	attribute := index.Attribute{Key: aclAttribute + change.ID.String(), Set: there, Time: uint32(time.Now().Unix())}
	if err := box.LogAttribute(ctx, attribute); err != nil {
		return internal(err)
	}
	if changed {
		m.a.changed(ctx, m.p.ns, change)
	}
	return nil
}

// write changes the list's file under its lock, and returns what it has become.
func (m *MailboxACL) write(ctx context.Context, change func(acl.List) (acl.List, bool)) (l acl.List, changed bool, err error) {
	dir := m.p.aclDir()
	if dir == "" || m.a.globalsOnly {
		return nil, false, fmt.Errorf("mailbox %s has no ACL file", m.Name)
	}
	path := dir + "/" + aclFile
	lock, err := dotlock.Take(ctx, path, aclLock)
	if err != nil {
		return nil, false, err
	}
	defer lock.Release()
	if l, err = m.a.files.read(path); err != nil {
		return nil, false, err
	}
	if l, changed = change(l); !changed {
		return l, false, nil
	}
	return l, true, lock.Replace(l.Append(nil))
}

// changed has who looks for shared mailboxes know of a change.
func (a *access) changed(ctx context.Context, ns *Namespace, change *acl.Update) {
	if (&acl.Entry{ID: change.ID, Rights: change.Rights}).GivesLookup() || change.Mode == acl.Replace || change.Mode == acl.Clear {
		a.rebuildList(ctx, ns)
	}
}

// inherit gives a new mailbox the list of the one above it.
func (a *access) inherit(ctx context.Context, p place) error {
	if !a.checks(p.ns) {
		return nil
	}
	above, err := a.above(p)
	if err != nil {
		return err
	}
	if above = above.Local(); len(above) == 0 {
		return nil
	}
	if p, err = a.u.resolve(p.name); err != nil {
		return err
	}
	m := &MailboxACL{Name: p.name, p: p, a: a}
	if m.p.aclDir() == "" || a.globalsOnly {
		return nil
	}
	_, changed, err := m.write(ctx, func(acl.List) (acl.List, bool) { return above, true })
	if err == nil && changed {
		a.rebuildList(ctx, p.ns)
	}
	return err
}

// RebuildACLDict writes anew who shares mailboxes of the user with whom.
func (u *User) RebuildACLDict(ctx context.Context) error {
	if u.access == nil {
		return errors.New("ACLs disabled")
	}
	return u.access.rebuildDict(ctx)
}

// OwnerName returns whose mailbox it is, of a shared namespace; "" if it is in another.
func (m *MailboxACL) OwnerName() string { return m.p.ns.owner }

// SharesACL reports whether the dictionary says that the owner of a mailbox shares with the user, so
// that LIST finds what he shares.
func (u *User) SharesACL(ctx context.Context, m *MailboxACL) (bool, error) {
	owners, err := u.access.sharers(ctx)
	return slices.Contains(owners, m.OwnerName()), internal(err)
}
