package imap

import "github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"

// enable is ENABLE (RFC 5161). Names not known are ignored.
func (c *command) enable() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	line := "* ENABLED"
	for ; len(args) > 0; args = args.Rest() {
		if args[0].Kind != imapwire.Atom {
			return errArguments
		}
		var name string
		switch {
		case args[0].Is("CONDSTORE"):
			name = " CONDSTORE"
		case args[0].Is("QRESYNC"): // which implies CONDSTORE
			name = " QRESYNC"
			c.enabled |= enabledQResync
		default:
			continue
		}
		if err := c.enableCondstore(); err != nil {
			return err
		}
		line += name
	}
	if line == "* ENABLED" {
		return nil // as Dovecot does; RFC 5161 would allow an empty list
	}
	return c.write(line + "\r\n")
}
