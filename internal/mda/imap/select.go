package imap

import (
	"errors"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// selectBox is SELECT and EXAMINE (RFC 3501 6.3.1, 6.3.2).
func (c *command) selectBox() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	if len(args) == 0 || args[0].Kind == imapwire.List {
		return errArguments
	}
	readOnly := c.name == "EXAMINE"

	if c.box != nil { // left even if what follows fails
		c.unselect()
		// RFC 7162 3.2.11; Dovecot sends it always.
		if err := c.write(replyClosed); err != nil {
			return err
		}
	}
	name, err := c.mailboxName(args)
	if err != nil {
		return err
	}
	condstore, resync, err := c.selectParams(args.Rest())
	if err != nil {
		return err
	}
	if condstore {
		c.enabled |= enabledCondstore
	}
	b, err := c.openSelected(name, readOnly)
	if err != nil {
		return err
	}
	c.box = b
	c.code = "[READ-WRITE] "
	fixed, err := b.mbox.ReadOnly()
	if err != nil {
		return err
	}
	if readOnly || fixed {
		c.code = "[READ-ONLY] "
	}
	if err := c.tellSelected(); err != nil {
		return err
	}
	if resync != nil && resync.uidValidity == b.view.UIDValidity() {
		return c.resynchronize(resync)
	}
	return nil
}

// selectParams reads the parameters of RFC 4466 2.1. resync is nil without QRESYNC.
func (s *session) selectParams(args imapwire.Args) (condstore bool, resync *qresync, err error) {
	if len(args) == 0 || args[0].Kind != imapwire.List {
		return false, nil, nil // Dovecot ignores what else there is
	}
	for list := args.List(); len(list) > 0; list = list.Rest() {
		switch {
		case list[0].Kind != imapwire.Atom:
			return false, nil, bad("SELECT options contain non-atoms.")
		case list[0].Is("CONDSTORE"):
			condstore = true
		case !list[0].Is("QRESYNC"):
			return false, nil, bad("Unknown FETCH modifier")
		case s.enabled&enabledQResync == 0:
			return false, nil, errQResyncOff
		default:
			if list = list.Rest(); len(list) == 0 || list[0].Kind != imapwire.List {
				return false, nil, bad("QRESYNC parameters missing")
			}
			if resync, err = parseQResync(list.List()); err != nil {
				return false, nil, err
			}
			if s.isUIDOnly() && resync.samples != nil {
				return false, nil, errUIDRequired
			}
		}
	}
	return condstore, resync, nil
}

// openSelected opens a mailbox to select it.
func (s *session) openSelected(name string, readOnly bool) (*selected, error) {
	mbox, err := s.user.Mailbox(s.ctx, name)
	if err != nil {
		return nil, err
	}
	if s.enabled&enabledCondstore != 0 {
		if err := mbox.EnableModSeq(s.ctx); err != nil {
			mbox.Close()
			return nil, err
		}
	}
	snap, err := mbox.Sync(s.ctx)
	if err != nil {
		mbox.Close()
		return nil, err
	}
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	b := &selected{mbox: mbox, name: name, readOnly: readOnly, noRecent: s.isRev2()}
	first := snap.FirstRecent()
	if !readOnly && first < snap.UIDNext() {
		if first, err = mbox.ClaimRecent(s.ctx); err != nil {
			mbox.Close()
			return nil, err
		}
		snap = mbox.Snapshot()
	}
	b.view, b.told, b.complete = snap, snap, snap.HighestModSeq()
	b.addRecent(first, snap)
	b.toldRecent = b.countRecent(snap)
	b.toldNext = snap.UIDNext()
	return b, nil
}

// tellSelected describes the mailbox that has been selected.
func (c *command) tellSelected() error {
	snap := c.box.view
	if err := c.writeFlagsAllowed(snap); err != nil {
		return err
	}
	if err := c.tellSelectedName(); err != nil {
		return err
	}
	b := c.buf()
	line := func(before string, n uint64, after string) {
		b = append(b, before...)
		b = strconv.AppendUint(b, n, 10)
		b = append(b, after...)
	}
	line("* ", uint64(snap.Len()), " EXISTS\r\n")
	if !c.isRev2() { // RFC 9051 E
		line("* ", uint64(c.box.toldRecent), " RECENT\r\n")
		if i, ok := snap.FirstUnseen(); ok && !c.isUIDOnly() {
			line("* OK [UNSEEN ", uint64(i+1), "] First unseen.\r\n")
		}
	}
	line("* OK [UIDVALIDITY ", uint64(snap.UIDValidity()), "] UIDs valid\r\n")
	line("* OK [UIDNEXT ", uint64(snap.UIDNext()), "] Predicted next UID\r\n")
	if c.enabled&enabledCondstore != 0 || snap.KeepsModSeq() {
		line("* OK [HIGHESTMODSEQ ", snap.HighestModSeq(), "] Highest\r\n")
	}
	b = append(appendMailboxID(append(b, "* OK ["...), c.box.mbox.GUID()), "] Ok\r\n"...)
	return c.put(b)
}

// tellSelectedName is the LIST reply that IMAP4rev2 has in SELECT (RFC 9051 6.3.2).
func (c *command) tellSelectedName() error {
	if !c.isRev2() {
		return nil
	}
	q := store.ListQuery{Patterns: []string{c.box.name}, Return: store.ReturnChildren | store.ReturnSpecialUse}
	entries, err := c.user.List(c.ctx, q)
	if err != nil {
		return err
	}
	for i := range entries { // the name may have wildcards
		if entries[i].Name == c.box.name {
			return c.put(c.appendListEntry(c.buf(), "LIST", &entries[i]))
		}
	}
	ns, ok := c.user.Namespace(c.box.name)
	if !ok {
		return nil
	}
	return c.put(c.appendListEntry(c.buf(), "LIST", &store.ListEntry{Name: c.box.name, Sep: ns.Sep}))
}

// enableCondstore is what a command that uses CONDSTORE does first (RFC 7162
// 3.1): from now on replies have modseqs.
func (s *session) enableCondstore() error {
	if s.enabled&enabledCondstore != 0 {
		return nil
	}
	s.enabled |= enabledCondstore
	if s.box == nil {
		return nil
	}
	if err := s.box.mbox.EnableModSeq(s.ctx); err != nil {
		return err
	}
	b := append(s.buf(), "* OK [HIGHESTMODSEQ "...)
	b = strconv.AppendUint(b, s.box.mbox.Snapshot().HighestModSeq(), 10)
	return s.put(append(b, "] Highest\r\n"...))
}

// unselect leaves the selected mailbox, if there is one.
func (s *session) unselect() {
	if s.box == nil {
		return
	}
	if err := s.box.mbox.Close(); err != nil {
		s.log.Errorf("Mailbox %s: %v", s.box.name, err)
	}
	s.box = nil
}

// isDeleted reports whether a mailbox is gone.
func isDeleted(err error) bool {
	return errors.Is(err, mailbox.ErrDeleted) || errors.Is(err, mailbox.ErrNotExist)
}
