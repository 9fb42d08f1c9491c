package imap

import (
	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// mailboxName returns the mailbox name that begins args, in UTF-8.
func (c *command) mailboxName(args imapwire.Args) (string, error) {
	if len(args) == 0 {
		return "", errArguments
	}
	raw, ok := args[0].AString()
	if !ok {
		return "", errArguments
	}
	return c.decodeName(raw)
}

// decodeName returns a mailbox name in UTF-8. It removes the separator that
// Thunderbird adds to names, where imap_client_workarounds says so.
func (c *command) decodeName(raw []byte) (string, error) {
	name, err := c.wireName(raw)
	if err != nil {
		return "", err
	}
	if c.workarounds&workaroundExtraSep == 0 || name == "" || c.name == "CREATE" {
		return name, nil
	}
	if ns, ok := c.user.Namespace(name); ok && name[len(name)-1] == ns.Sep {
		name = name[:len(name)-1]
	}
	return name, nil
}

// names reads n mailbox names that are a command's arguments.
func (c *command) names(n int) ([]string, imapwire.Args, error) {
	args, err := c.dec.Args(0)
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, 0, n)
	for range n {
		if len(args) == 0 {
			return nil, nil, errMissing
		}
		name, err := c.mailboxName(args)
		if err != nil {
			return nil, nil, err
		}
		names = append(names, name)
		args = args.Rest()
	}
	return names, args, nil
}
