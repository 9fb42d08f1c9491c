package imap

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// create is CREATE (RFC 3501 6.3.3), with USE (RFC 6154 3).
func (c *command) create() error {
	names, rest, err := c.names(1)
	if err != nil {
		return err
	}
	if err := c.newName(names[0]); err != nil {
		return err
	}
	use, err := createUse(rest)
	if err != nil {
		return err
	}
	if use != "" {
		err = c.user.CreateSpecialUse(c.ctx, names[0], use)
	} else {
		err = c.user.Create(c.ctx, names[0])
	}
	if err == nil {
		c.code = c.createdID(names[0])
	}
	return err
}

// createUse returns the special uses, separated by blanks.
func createUse(args imapwire.Args) (string, error) {
	if len(args) == 0 || args[0].Kind != imapwire.List {
		return "", nil
	}
	params := args.List()
	if len(params) == 0 || !params[0].Is("USE") {
		return "", bad("Unknown parameter")
	}
	if params = params.Rest(); len(params) == 0 || params[0].Kind != imapwire.List {
		return "", errArguments
	}
	var uses []string
	for list := params.List(); len(list) > 0; list = list.Rest() {
		uses = append(uses, string(list[0].Data))
	}
	return strings.Join(uses, " "), nil
}
