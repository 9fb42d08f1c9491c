package imap

import (
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// expunge is EXPUNGE (RFC 3501 6.4.3). In a mailbox opened read-only it does
// nothing, as in Dovecot.
func (c *command) expunge() error {
	if c.box.readOnly {
		return nil
	}
	return c.ignoreDenied(c.expungeDeleted(nil))
}

// uidExpunge is UID EXPUNGE (RFC 4315 2.1).
func (c *command) uidExpunge() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	spans, err := c.messages(args)
	if err != nil {
		return err
	}
	if c.box.readOnly || len(spans) == 0 {
		return nil
	}
	return c.ignoreDenied(c.expungeDeleted(spans))
}

// expungeDeleted expunges the messages marked \Deleted: of the spans of the view
// or, if spans is nil, all that the mailbox has now.
func (c *command) expungeDeleted(spans []span) error {
	snap, err := c.box.mbox.Sync(c.ctx)
	if err != nil {
		return err
	}
	var uids []uint32
	if spans == nil {
		if snap.Counts().Deleted == 0 {
			return nil
		}
		uids = appendDeleted(uids, snap, 0, snap.Len())
	}
	for _, s := range spans {
		// Other uids may lie between those of the view: what is new is none of them.
		from, _ := snap.Find(c.box.view.UID(s.first))
		to, ok := snap.Find(c.box.view.UID(s.end - 1))
		if ok {
			to++
		}
		uids = appendDeleted(uids, snap, from, to)
	}
	if len(uids) == 0 {
		return nil
	}
	if err := c.box.mbox.ExpungeDeleted(c.ctx, uids); err != nil {
		return err
	}
	c.stats.expunged += int64(len(uids))
	return nil
}

func appendDeleted(uids []uint32, snap *mailbox.Snapshot, from, to int) []uint32 {
	for i := from; i < to; i++ {
		if snap.Flags(i)&mailbox.Deleted != 0 {
			uids = append(uids, snap.UID(i))
		}
	}
	return uids
}
