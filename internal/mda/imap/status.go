package imap

import (
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// statusItems is a set of what STATUS can tell.
type statusItems uint16

const (
	statusMessages statusItems = 1 << iota
	statusRecent
	statusUIDNext
	statusUIDValidity
	statusUnseen
	statusHighestModSeq
	statusSize
	statusMailboxID
	statusDeleted
	statusDeletedStorage
	statusAppendLimit
)

// statusNames are the items in the order of the reply, which is not that of the
// request.
var statusNames = []struct {
	item statusItems
	name string
}{
	{statusMessages, "MESSAGES"},
	{statusRecent, "RECENT"},
	{statusUIDNext, "UIDNEXT"},
	{statusUIDValidity, "UIDVALIDITY"},
	{statusUnseen, "UNSEEN"},
	{statusHighestModSeq, "HIGHESTMODSEQ"},
	{statusSize, "SIZE"},           // RFC 8438
	{statusMailboxID, "MAILBOXID"}, // RFC 8474
	{statusDeleted, "DELETED"},     // RFC 9208 4.1.4, as the next
	{statusDeletedStorage, "DELETED-STORAGE"},
	{statusAppendLimit, "APPENDLIMIT"}, // RFC 7889 3.2
}

func (s *session) parseStatusItems(list imapwire.Args) (items statusItems, err error) {
	if len(list) == 0 {
		return 0, bad("Empty status list.")
	}
	for ; len(list) > 0; list = list.Rest() {
		if list[0].Kind != imapwire.Atom {
			return 0, bad("Status list contains non-atoms.")
		}
		found := false
		for _, n := range statusNames {
			if list[0].Is(n.name) && s.hasStatusItem(n.item) {
				items |= n.item
				found = true
			}
		}
		if !found {
			return 0, bad("Invalid status item " + string(imapwire.AppendUpper(nil, list[0].Data)))
		}
	}
	return items, nil
}

// hasStatusItem reports whether the client may ask for the item.
func (s *session) hasStatusItem(item statusItems) bool {
	switch item {
	case statusRecent:
		return !s.isRev2() // RFC 9051 E
	case statusAppendLimit:
		return s.user.MaxMailSize() > 0
	}
	return true
}

// status is STATUS (RFC 3501 6.3.10).
func (c *command) status() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	rest := args.Rest()
	if len(rest) == 0 {
		return errMissing
	}
	raw, ok := args[0].AString()
	if !ok || rest[0].Kind != imapwire.List {
		return errArguments
	}
	items, err := c.parseStatusItems(rest.List())
	if err != nil {
		return err
	}
	name, err := c.decodeName(raw)
	if err != nil {
		return err
	}
	if items&statusHighestModSeq != 0 {
		if err := c.enableCondstore(); err != nil {
			return err
		}
	}
	b, err := c.appendStatus(c.buf(), name, string(raw), items)
	if err != nil {
		return err
	}
	return c.put(b)
}

// appendStatus appends the STATUS reply of a mailbox. wire is the name as the
// client writes it.
func (c *command) appendStatus(b []byte, name, wire string, items statusItems) ([]byte, error) {
	status, err := c.user.Status(c.ctx, name, items&statusSize != 0)
	if err != nil {
		return b, err
	}
	if c.box != nil && c.box.mbox.GUID() == status.GUID {
		snap, err := c.box.mbox.Sync(c.ctx)
		if err != nil {
			return b, err
		}
		status.Recent = uint32(c.box.countRecent(snap))
		if c.name == "STATUS" {
			c.code = "[CLIENTBUG] " // RFC 3501 6.3.10: SHOULD NOT be used so
			c.text = "Status on selected mailbox completed."
		}
	}
	var deleted store.Reclaimable
	if items&(statusDeleted|statusDeletedStorage) != 0 {
		if deleted, err = c.user.Deleted(c.ctx, name); err != nil {
			return b, err
		}
	}
	b = append(b, "* STATUS "...)
	b = c.appendEcho(b, wire)
	b = append(b, " ("...)
	for _, n := range statusNames {
		if items&n.item == 0 {
			continue
		}
		if n.item == statusMailboxID {
			b = append(appendMailboxID(b, status.GUID), ' ')
			continue
		}
		value := statusValue(&status, n.item)
		switch n.item {
		case statusDeleted:
			value = uint64(deleted.Messages)
		case statusDeletedStorage:
			value = uint64(deleted.Storage)
		case statusAppendLimit:
			value = uint64(c.user.MaxMailSize())
		}
		b = append(b, n.name...)
		b = append(b, ' ')
		b = strconv.AppendUint(b, value, 10)
		b = append(b, ' ')
	}
	return append(b[:len(b)-1], ")\r\n"...), nil
}

// statusValue returns one item of a mailbox.
func statusValue(s *store.Status, item statusItems) uint64 {
	switch item {
	case statusMessages:
		return uint64(s.Messages)
	case statusRecent:
		return uint64(s.Recent)
	case statusUIDNext:
		return uint64(s.UIDNext)
	case statusUIDValidity:
		return uint64(s.UIDValidity)
	case statusUnseen:
		return uint64(s.Unseen)
	case statusHighestModSeq:
		return s.HighestModSeq
	}
	return s.Size
}
