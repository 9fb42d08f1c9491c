package imap

import "strconv"

// close is CLOSE (RFC 3501 6.4.2): messages marked \Deleted are expunged
// silently. A client with QRESYNC is told the modseq then (RFC 7162 3.2.8), which
// Dovecot leaves out.
func (c *command) close() error {
	defer c.unselect()
	if c.box.readOnly {
		return nil
	}
	before := c.stats.expunged
	if err := c.ignoreDenied(c.expungeDeleted(nil)); err != nil || c.stats.expunged == before || c.enabled&enabledQResync == 0 {
		return err
	}
	c.code = "[HIGHESTMODSEQ " + strconv.FormatUint(c.box.mbox.Snapshot().HighestModSeq(), 10) + "] "
	return nil
}

// unselectCmd is UNSELECT (RFC 3691).
func (c *command) unselectCmd() error {
	c.unselect()
	return nil
}
