package pop3

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// update enters the UPDATE state of RFC 1939 6: it applies what the session has
// changed. It returns when that is durable.
func (c *session) update(ctx context.Context) error {
	if err := c.updateSeen(ctx); err != nil {
		return err
	}
	if c.deleted == 0 {
		return nil
	}
	uids := c.uids(func(m *entry) bool { return m.deleted })
	if c.set.DeleteType == "flag" || c.set.DeleteType == "default" && c.set.DeletedFlag != "" {
		_, err := c.box.SetFlags(ctx, mailbox.FlagChange{
			UIDs: uids, Op: mailbox.FlagsAdd, Keywords: []string{c.set.DeletedFlag}, UnchangedSince: mailbox.Unconditional,
		})
		return err
	}
	return c.box.Expunge(ctx, uids)
}

// leave keeps, of a session that did not end with QUIT, only what was read.
func (c *session) leave(ctx context.Context) {
	if err := c.updateSeen(ctx); err != nil {
		c.log.Errorf("couldn't mark messages as seen: %v", err)
	}
}

// updateSeen gives \Seen to the messages that were sent whole.
func (c *session) updateSeen(ctx context.Context) error {
	if c.unsee {
		change := mailbox.FlagChange{
			UIDs: c.uids(func(m *entry) bool { return m.wasSeen && !m.seen }),
			Op:   mailbox.FlagsRemove, Flags: mailbox.Seen, UnchangedSince: mailbox.Unconditional,
		}
		if _, err := c.box.SetFlags(ctx, change); err != nil {
			return err
		}
	}
	if c.seen == 0 {
		return nil
	}
	_, err := c.box.SetFlags(ctx, mailbox.FlagChange{
		UIDs: c.uids(func(m *entry) bool { return m.seen && !m.deleted }),
		Op:   mailbox.FlagsAdd, Flags: mailbox.Seen, UnchangedSince: mailbox.Unconditional,
	})
	return err
}

func (c *session) uids(want func(*entry) bool) []uint32 {
	var uids []uint32
	for i := range c.msgs {
		if want(&c.msgs[i]) {
			uids = append(uids, c.msgs[i].uid)
		}
	}
	return uids
}
