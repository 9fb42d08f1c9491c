package imap

// rename is RENAME (RFC 3501 6.3.5).
func (c *command) rename() error {
	names, _, err := c.names(2)
	if err != nil {
		return err
	}
	if err := c.newName(names[1]); err != nil {
		return err
	}
	return c.user.Rename(c.ctx, names[0], names[1])
}
