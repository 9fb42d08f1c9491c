package imap

import (
	"errors"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// statusItems is a set of what STATUS can tell.
type statusItems uint8

const (
	statusMessages statusItems = 1 << iota
	statusRecent
	statusUIDNext
	statusUIDValidity
	statusUnseen
	statusHighestModSeq
	statusSize
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
	{statusSize, "SIZE"}, // RFC 8438
}

func parseStatusItems(list imapwire.Args) (items statusItems, err error) {
	if len(list) == 0 {
		return 0, bad("Empty status list.")
	}
	for ; len(list) > 0; list = list.Rest() {
		if list[0].Kind != imapwire.Atom {
			return 0, bad("Status list contains non-atoms.")
		}
		found := false
		for _, n := range statusNames {
			if list[0].Is(n.name) {
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
	items, err := parseStatusItems(rest.List())
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
// client wrote it.
func (c *command) appendStatus(b []byte, name, wire string, items statusItems) ([]byte, error) {
	mbox, err := c.user.Mailbox(c.ctx, name)
	if err != nil {
		return b, err
	}
	defer mbox.Close()
	snap, err := mbox.Sync(c.ctx)
	if err != nil {
		return b, err
	}
	isSelected := c.box != nil && c.box.mbox.GUID() == mbox.GUID()
	if isSelected && c.name == "STATUS" {
		c.code = "[CLIENTBUG] " // RFC 3501 6.3.10: SHOULD NOT be used so
		c.text = "Status on selected mailbox completed."
	}
	b = append(b, "* STATUS "...)
	b = imapwire.AppendAString(b, wire)
	b = append(b, " ("...)
	for _, n := range statusNames {
		if items&n.item == 0 {
			continue
		}
		value, err := statusValue(mbox, snap, n.item)
		if isSelected && n.item == statusRecent {
			value = uint64(c.box.countRecent(snap))
		}
		if err != nil {
			return b, err
		}
		b = append(b, n.name...)
		b = append(b, ' ')
		b = strconv.AppendUint(b, value, 10)
		b = append(b, ' ')
	}
	return append(b[:len(b)-1], ")\r\n"...), nil
}

// statusValue returns one item of a mailbox.
func statusValue(mbox *mailbox.Mailbox, snap *mailbox.Snapshot, item statusItems) (uint64, error) {
	switch item {
	case statusMessages:
		return uint64(snap.Len()), nil
	case statusRecent:
		return uint64(snap.Counts().Recent), nil
	case statusUIDNext:
		return uint64(snap.UIDNext()), nil
	case statusUIDValidity:
		return uint64(snap.UIDValidity()), nil
	case statusUnseen:
		return uint64(snap.Counts().Unseen), nil
	case statusHighestModSeq:
		return snap.HighestModSeq(), nil
	}
	return virtualSize(mbox, snap)
}

// virtualSize returns the sizes of all messages together.
func virtualSize(mbox *mailbox.Mailbox, snap *mailbox.Snapshot) (uint64, error) {
	var sum int64
	for i := range snap.Len() {
		if size, ok := snap.VirtualSize(i); ok {
			sum += size
			continue
		}
		msg, err := mbox.Message(snap.UID(i))
		if errors.Is(err, mailbox.ErrExpunged) {
			continue
		}
		if err != nil {
			return 0, err
		}
		size, err := msg.VirtualSize()
		if err != nil && !errors.Is(err, mailbox.ErrExpunged) {
			return 0, err
		}
		sum += size
	}
	return uint64(sum), nil
}
