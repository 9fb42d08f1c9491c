package imap

// subscribe is SUBSCRIBE (RFC 3501 6.3.6).
func (c *command) subscribe() error {
	names, _, err := c.names(1)
	if err != nil {
		return err
	}
	return c.user.Subscribe(c.ctx, c.trimSeparator(names[0]))
}

// unsubscribe is UNSUBSCRIBE (RFC 3501 6.3.7).
func (c *command) unsubscribe() error {
	names, _, err := c.names(1)
	if err != nil {
		return err
	}
	return c.user.Unsubscribe(c.ctx, c.trimSeparator(names[0]))
}

// trimSeparator removes the separator that Thunderbird adds to names, where
// imap_client_workarounds says so.
func (c *command) trimSeparator(name string) string {
	if c.workarounds&workaroundExtraSep == 0 || name == "" {
		return name
	}
	if ns, ok := c.user.Namespace(name); ok && name[len(name)-1] == ns.Sep {
		return name[:len(name)-1]
	}
	return name
}
