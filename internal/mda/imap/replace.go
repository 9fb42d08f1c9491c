package imap

import (
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// replace is REPLACE and UID REPLACE (RFC 8508): an APPEND of one message that expunges another.
func (c *command) replace() error {
	args, err := c.dec.Args(2)
	if err != nil {
		return err
	}
	uid, err := c.replaced(args)
	if err != nil {
		return err
	}
	name, err := c.mailboxName(args.Rest())
	if err != nil {
		return err
	}
	if err := c.mayReplace(); err != nil {
		return err
	}
	mbox, err := c.target(name)
	if err != nil {
		return err
	}
	defer mbox.Close()
	a := &appending{command: c, mbox: mbox, single: true}
	defer a.abort()
	c.progress = a.appendProgress
	if err := a.messages(); err != nil {
		return err
	}
	c.progress = nil
	result, err := c.box.mbox.Replace(c.ctx, uid, a.saves[0])
	switch {
	case errors.Is(err, mailbox.ErrExpunged):
		return errExpunged
	case err != nil && result.UID == 0:
		return err
	case err != nil:
		c.log.Errorf("%s: Failed to expunge the old message: %v", c.name, err)
		c.text = "Replace completed, but failed to expunge old message."
	default:
		c.stats.expunged++
	}
	if !mbox.Told() {
		return nil
	}
	// RFC 8508 3.3: before the EXPUNGE reply.
	return c.write("* OK " + appendUID([]mailbox.SaveResult{result}) + "Replacement message saved.\r\n")
}

// replaced returns the uid of the message that is to be replaced.
func (c *command) replaced(args imapwire.Args) (uint32, error) {
	if len(args) == 0 {
		return 0, errMissing
	}
	set, ok := imapwire.ParseSet(nil, args[0].Data)
	if args[0].Kind != imapwire.Atom || !ok || len(set) != 1 || set[0].Min != set[0].Max {
		return 0, errArguments
	}
	spans, err := c.box.resolve(set, c.uid)
	if err != nil {
		return 0, err
	}
	if len(spans) == 0 {
		return 0, &reply{cond: condNo, text: "Invalid UID for replaced message."}
	}
	return c.box.view.UID(spans[0].first), nil
}

// mayReplace returns an error unless messages may be expunged: the client is not to send a text in vain.
func (c *command) mayReplace() error {
	if c.box.readOnly {
		return &reply{cond: condNo, text: textReadOnly}
	}
	rights, err := c.box.mbox.Rights()
	if err == nil && rights&acl.Expunge == 0 {
		err = errDenied
	}
	return err
}
