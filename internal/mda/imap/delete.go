package imap

// delete is DELETE (RFC 3501 6.3.4). Deleting the selected mailbox ends the
// session at its next sync, as in Dovecot.
func (c *command) delete() error {
	names, _, err := c.names(1)
	if err != nil {
		return err
	}
	return c.user.Delete(c.ctx, names[0])
}
