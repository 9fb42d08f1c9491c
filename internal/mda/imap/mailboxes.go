package imap

import "github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"

// names reads n mailbox names, in UTF-8, that are a command's arguments.
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
		raw, ok := args[0].AString()
		if !ok {
			return nil, nil, errArguments
		}
		name, err := decodeName(raw)
		if err != nil {
			return nil, nil, err
		}
		names = append(names, name)
		args = args.Rest()
	}
	return names, args, nil
}
