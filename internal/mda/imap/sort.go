package imap

import (
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/order"
)

// sort is SORT and UID SORT (RFC 5256, 5957), with RETURN (RFC 5267).
func (c *command) sort() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	opt, args, err := c.searchOptions(args)
	if err != nil {
		return err
	}
	if len(args) == 0 || args[0].Kind != imapwire.List {
		return bad("Invalid sort argument.")
	}
	program, err := sortProgram(args.List())
	if err != nil {
		return err
	}
	if args = args.Rest(); len(args) == 0 || args[0].Kind == imapwire.List {
		return bad("Invalid charset argument.")
	}
	key, modseq, err := c.searchKey(args.Rest(), string(args[0].Data), opt)
	if err != nil {
		return err
	}
	uids, err := c.find(key, modseq, opt)
	if err != nil {
		return err
	}
	ascending := slices.Clone(uids)
	err = order.Sort(c.ctx, c.box.mbox, uids, program)
	c.box.mbox.CommitCache(c.ctx)
	if err != nil {
		return err
	}
	if err := c.keepUpdated(opt, key, ascending, &sorted{program: program, uids: slices.Clone(uids)}); err != nil {
		return err
	}
	return c.found(uids, modseq, opt, "* SORT")
}

var sortKeys = map[string]order.By{
	"ARRIVAL": order.Arrival, "CC": order.Cc, "DATE": order.Date, "FROM": order.From, "SIZE": order.Size,
	"SUBJECT": order.Subject, "TO": order.To, "DISPLAYFROM": order.DisplayFrom, "DISPLAYTO": order.DisplayTo,
}

// sortProgram reads the list of criteria. Of each only the first counts.
func sortProgram(list imapwire.Args) (keys []order.Key, err error) {
	if len(list) == 0 {
		return nil, bad("Empty sort program.")
	}
	reverse := false
	for ; len(list) > 0; list = list.Rest() {
		if list[0].Kind == imapwire.List {
			return nil, bad("Invalid sort list argument.")
		}
		if last := list[0].Is("REVERSE"); last {
			if reverse = !reverse; len(list.Rest()) == 0 {
				return nil, bad("Sort list ends with REVERSE.")
			}
			continue
		}
		by, ok := sortKeys[strings.ToUpper(string(list[0].Data))]
		if !ok {
			return nil, bad("Unknown sort argument: " + string(list[0].Data))
		}
		if slices.ContainsFunc(keys, func(k order.Key) bool { return k.By == by }) {
			continue
		}
		keys = append(keys, order.Key{By: by, Reverse: reverse})
		reverse = false
	}
	return keys, nil
}
