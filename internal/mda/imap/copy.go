package imap

import (
	"errors"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// copy is COPY and UID COPY (RFC 3501 6.4.7).
func (c *command) copy() error {
	t, err := c.transferArgs()
	if err != nil || t == nil {
		return err
	}
	defer t.dst.Close()
	result, err := c.box.mbox.Copy(c.ctx, t.uids, t.dst)
	if errors.Is(err, mailbox.ErrExpunged) {
		return errExpunged
	}
	if err != nil {
		return err
	}
	if len(result.Src) < len(t.uids) {
		return errExpunged
	}
	if t.dst.Told() {
		c.code = string(appendCopyUID(nil, result)) + " "
	}
	return nil
}

// move is MOVE and UID MOVE (RFC 6851).
func (c *command) move() error {
	t, err := c.transferArgs()
	if err != nil || t == nil {
		return err
	}
	defer t.dst.Close()
	if c.box.readOnly {
		return &reply{cond: condNo, text: textReadOnly}
	}
	result, err := c.box.mbox.Move(c.ctx, t.uids, t.dst)
	if errors.Is(err, mailbox.ErrExpunged) {
		return errExpunged
	}
	if err != nil {
		return err
	}
	if len(result.Src) == 0 {
		return errExpunged
	}
	if !t.dst.Told() {
		return nil
	}
	// RFC 6851 4.3: before the EXPUNGE replies.
	b := append(c.buf(), "* OK "...)
	b = appendCopyUID(b, result)
	return c.put(append(b, " Moved UIDs.\r\n"...))
}

// transfer is the arguments of COPY and MOVE.
type transfer struct {
	uids []uint32
	dst  *mailbox.Mailbox
}

// transferArgs reads the arguments. It returns nil if no messages are meant, and
// sets the text that says so.
func (c *command) transferArgs() (*transfer, error) {
	args, err := c.dec.Args(0)
	if err != nil {
		return nil, err
	}
	if args.Count() < 2 {
		return nil, errMissing
	}
	spans, err := c.messages(args)
	if err != nil {
		return nil, err
	}
	name, err := c.mailboxName(args.Rest())
	if err != nil {
		return nil, err
	}
	if len(spans) == 0 {
		c.text = textNoMessages
		return nil, nil
	}
	dst, err := c.target(name)
	if err != nil {
		return nil, err
	}
	return &transfer{uids: c.box.uids(spans), dst: dst}, nil
}

// appendCopyUID appends the response code of RFC 4315.
func appendCopyUID(b []byte, r mailbox.CopyResult) []byte {
	b = append(b, "[COPYUID "...)
	b = strconv.AppendUint(b, uint64(r.UIDValidity), 10)
	b = append(b, ' ')
	b = imapwire.AppendSet(b, r.Src)
	b = append(b, ' ')
	b = imapwire.AppendSet(b, r.Dst)
	return append(b, ']')
}
