package imap

// subscribe is SUBSCRIBE (RFC 3501 6.3.6).
func (c *command) subscribe() error {
	names, _, err := c.names(1)
	if err != nil {
		return err
	}
	return c.user.Subscribe(c.ctx, names[0])
}

// unsubscribe is UNSUBSCRIBE (RFC 3501 6.3.7).
func (c *command) unsubscribe() error {
	names, _, err := c.names(1)
	if err != nil {
		return err
	}
	return c.user.Unsubscribe(c.ctx, names[0])
}
