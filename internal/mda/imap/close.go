package imap

// close is CLOSE (RFC 3501 6.4.2): messages marked \Deleted are expunged
// silently.
func (c *command) close() error {
	defer c.unselect()
	if c.box.readOnly {
		return nil
	}
	return c.expungeDeleted(nil)
}

// unselectCmd is UNSELECT (RFC 3691).
func (c *command) unselectCmd() error {
	c.unselect()
	return nil
}
