package imap

// noop is NOOP and CHECK (RFC 3501 6.1.2, 6.4.1): the sync that follows is all, and
// what NOTIFY has to tell.
func (c *command) noop() error {
	if c.notified == nil || c.notified.mailbox == nil {
		return nil
	}
	c.notified.mailbox.watch.CatchUp()
	return c.notifyMailboxes()
}

// logoutCmd is LOGOUT (RFC 3501 6.1.3).
func (c *command) logoutCmd() error {
	if err := c.write("* BYE " + byeLogout + "\r\n"); err != nil {
		return err
	}
	c.noReply = true
	err := c.tagged("OK ", "", c.done)
	c.bye = "Logged out"
	return err
}
