package imap

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// store is STORE and UID STORE (RFC 3501 6.4.6), with UNCHANGEDSINCE (RFC 7162).
func (c *command) store() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return errMissing
	}
	spans, err := c.messages(args)
	if err != nil {
		return err
	}
	item, err := parseStore(args.Rest())
	if err != nil {
		return err
	}

	if c.box.readOnly {
		c.text = textStoreReadOnly
		return nil
	}
	if item.change.UnchangedSince != mailbox.Unconditional {
		if err := c.enableCondstore(); err != nil {
			return err
		}
	}
	if len(spans) == 0 {
		return nil
	}

	item.change.UIDs = c.box.uids(spans)
	if item.change.Op != mailbox.FlagsRemove && item.change.Flags&mailbox.Deleted != 0 {
		c.stats.deleted += c.countUndeleted(spans)
	}
	modified, err := c.box.mbox.SetFlags(c.ctx, item.change)
	if err != nil {
		return err
	}
	c.expect = &flagsExpected{}
	if item.silent {
		c.expect = expected(item.change, modified)
	}
	c.expect.uid = c.uid
	if len(modified) > 0 {
		c.text = "Conditional store failed."
		c.code = c.modifiedCode(modified)
	}
	return nil
}

// storeItem is what STORE changes.
type storeItem struct {
	change mailbox.FlagChange
	silent bool
}

func parseStore(args imapwire.Args) (storeItem, error) {
	item := storeItem{change: mailbox.FlagChange{UnchangedSince: mailbox.Unconditional}}
	if len(args) > 0 && args[0].Kind == imapwire.List {
		var err error
		if item.change.UnchangedSince, err = storeModifiers(args.List()); err != nil {
			return item, err
		}
		args = args.Rest()
	}
	if len(args) == 0 || args[0].Kind != imapwire.Atom {
		return item, errArguments
	}
	name := imapwire.AppendUpper(nil, args[0].Data)
	item.change.Op = mailbox.FlagsReplace
	switch name[0] {
	case '+':
		item.change.Op, name = mailbox.FlagsAdd, name[1:]
	case '-':
		item.change.Op, name = mailbox.FlagsRemove, name[1:]
	}
	switch string(name) {
	case "FLAGS":
	case "FLAGS.SILENT":
		item.silent = true
	default:
		return item, errArguments
	}
	flags := args.Rest()
	if len(flags) > 0 && flags[0].Kind == imapwire.List {
		flags = flags.List()
	}
	var err error
	item.change.Flags, item.change.Keywords, err = parseFlags(flags)
	return item, err
}

func storeModifiers(list imapwire.Args) (unchangedSince uint64, err error) {
	unchangedSince = mailbox.Unconditional
	for ; len(list) > 0; list = list.Rest() {
		if !list[0].Is("UNCHANGEDSINCE") {
			return 0, bad("Invalid STORE modifiers.")
		}
		if list = list.Rest(); len(list) == 0 {
			return 0, bad("Invalid STORE modifiers.")
		}
		modseq, ok := imapwire.ParseUint(list[0].Data)
		if !ok {
			return 0, bad("Invalid modseq")
		}
		unchangedSince = modseq
	}
	return unchangedSince, nil
}

// countUndeleted returns how many messages are not marked \Deleted yet.
func (c *command) countUndeleted(spans []span) (n int64) {
	snap := c.box.mbox.Snapshot()
	for _, s := range spans {
		for i := s.first; i < s.end; i++ {
			if j, ok := snap.Find(c.box.view.UID(i)); ok && snap.Flags(j)&mailbox.Deleted == 0 {
				n++
			}
		}
	}
	return n
}

// expected returns the change that a client has asked for silently, without the
// messages that were refused.
func expected(change mailbox.FlagChange, modified []uint32) *flagsExpected {
	uids := change.UIDs
	if len(modified) > 0 {
		uids = slices.DeleteFunc(uids, func(uid uint32) bool {
			_, found := slices.BinarySearch(modified, uid)
			return found
		})
	}
	return &flagsExpected{uids: uids, op: change.Op, flags: change.Flags, keywords: change.Keywords}
}

// modifiedCode returns the response code of RFC 7162 3.1.3: uids or, for STORE, sequence
// numbers.
func (c *command) modifiedCode(modified []uint32) string {
	if !c.uid {
		numbers := make([]uint32, 0, len(modified))
		for _, uid := range modified {
			if i, ok := c.box.view.Find(uid); ok {
				numbers = append(numbers, uint32(i+1))
			}
		}
		modified = numbers
	}
	b := imapwire.AppendSet([]byte("[MODIFIED "), modified)
	return string(append(b, "] "...))
}
