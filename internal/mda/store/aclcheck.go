package store

import (
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A purpose is what a mailbox is opened for.
type purpose uint8

const (
	toRead     purpose = iota
	toSave             // APPEND, COPY
	toDeliver          // as Dovecot's LDA and LMTP server
	toAnnotate         // GETMETADATA, SETMETADATA
	toGovern           // by who may change the list
	toExpire           // to expunge what the administrator says is old
	toKeep             // what is expunged
)

// needs are the rights that a purpose needs.
var needs = [...]acl.Right{toRead: acl.Read, toSave: acl.Insert, toDeliver: acl.Post, toAnnotate: acl.Lookup}

// annotating are the rights of which one is needed besides to see attributes (RFC 5464 3.3).
const annotating = acl.Read | acl.WriteSeen | acl.Write | acl.Insert | acl.Post

// errDenied is said to who may know that the mailbox exists.
var errDenied = &Error{Code: CodeNoPerm, Text: "Permission denied"}

// unchecked reports whether rights of the user do not count.
func (why purpose) unchecked() bool { return why >= toGovern }

// mayOpen returns nil if the mailbox can be opened for the purpose.
func (a *access) mayOpen(p place, why purpose) error {
	if why.unchecked() || !a.checks(p.ns) {
		return nil
	}
	s, err := a.rights(p)
	switch {
	case err != nil:
		return internal(err)
	case !s.Has(needs[why]):
		return denied(s, missingMailbox(p.name))
	case why == toAnnotate && s.Bits&annotating == 0:
		return errDenied
	}
	return nil
}

// denied is why somebody with these rights cannot do something: without "lookup" he must not learn that the mailbox
// exists.
func denied(s acl.Set, hidden error) error {
	if s.Has(acl.Lookup) {
		return errDenied
	}
	return hidden
}

// mayDelete returns nil if the mailbox can be deleted, or renamed.
func (a *access) mayDelete(p place) error {
	if !a.checks(p.ns) {
		return nil
	}
	s, err := a.rights(p)
	switch {
	case err != nil:
		return internal(err)
	case !s.Has(acl.Delete):
		return denied(s, missing(p.name))
	}
	return nil
}

// mayCreate returns nil if the mailbox can be made.
func (a *access) mayCreate(p place) error {
	if !a.checks(p.ns) || p.isAuto() {
		return nil
	}
	l, err := a.above(p)
	if err != nil {
		return internal(err)
	}
	s, err := a.judge(p.ns, l)
	switch {
	case err != nil:
		return internal(err)
	case !s.Has(acl.Create):
		return errDenied
	}
	return nil
}

// maySubscribe reports whether the mailbox is one for the user. RFC 4314 wants "lookup" for that; as Dovecot, what can
// be selected or written to can be subscribed.
func (a *access) maySubscribe(p place) (bool, error) {
	s, err := a.rights(p)
	return s.Bits&(acl.Lookup|acl.Read|acl.Insert) != 0, err
}

// A guard is [mailbox.Guard] for a mailbox.
type guard struct {
	a *access
	p place
}

var _ mailbox.Guard = (*guard)(nil)

// Rights implements [mailbox.Guard].
func (g *guard) Rights() (acl.Right, error) {
	s, err := g.a.rights(g.p)
	return s.Bits, internal(err)
}

// Denied implements [mailbox.Guard].
func (g *guard) Denied() error { return errDenied }

// protect has a handle ask what the user may do.
func (a *access) protect(m *mailbox.Mailbox, p place, why purpose) {
	if why.unchecked() || !a.checks(p.ns) {
		return
	}
	save := acl.Insert
	if why == toDeliver {
		save = acl.Post
	}
	m.SetGuard(&guard{a, p}, save)
}
