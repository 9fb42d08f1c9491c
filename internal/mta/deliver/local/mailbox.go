package local

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
)

// mailbox delivers to the mailbox of a user, or to what takes its place. done is
// false if there is no such user.
func (d *delivery) mailbox(s state) (done, again bool) {
	s.level++
	if d.seen.before("mailbox", s.local) {
		return true, false
	}
	transport, found, err := d.mailboxes.Lookup(d.ctx, s.user)
	if err != nil {
		return true, d.defers(&s, "4.3.0", "table lookup failure")
	}
	if !found {
		transport = d.set.MailboxTransport
	}
	if transport != "" {
		return true, d.pass(&s, transport)
	}
	u, err := d.Asuser.User(d.ctx, s.user)
	if err != nil {
		return true, d.userLookupFailed(&s, err)
	}
	if u == nil {
		return false, false
	}
	s.rights = u
	return true, d.userMailbox(s)
}

func (d *delivery) userMailbox(s state) bool {
	command, found, err := d.commands.Lookup(d.ctx, s.user)
	if err != nil {
		return d.defers(&s, "4.3.0", "table lookup failure")
	}
	if !found {
		command = d.set.MailboxCommand
	}
	if command != "" {
		return d.command(s, command)
	}
	s.level++
	if !d.set.FrozenDeliveredTo {
		s.delivered = s.address
	}
	maildir := d.isMaildir()
	if d.req.Verify {
		return d.sent(&s, "delivers to "+boxName(maildir))
	}
	r, err := d.ask(&asuser.Request{Op: asuser.OpMailbox, User: s.rights.Name, Copy: d.boxCopy(&s, maildir)})
	if err != nil {
		return d.unavailable(&s, err)
	}
	switch {
	case r.DSN == "":
		return d.sent(&s, "delivered to "+boxName(maildir))
	case maildir:
		return d.fails(&s, d.failure(r, "maildir delivery failed: "+r.Reason))
	}
	return d.fails(&s, d.failure(r, fmt.Sprintf("cannot update mailbox %s for user %s. %s", r.Path, s.user, r.Reason)))
}

// isMaildir says of what kind mailboxes are.
func (d *delivery) isMaildir() bool {
	if d.set.HomeMailbox != "" {
		return strings.HasSuffix(d.set.HomeMailbox, "/")
	}
	return strings.HasSuffix(d.set.SpoolDirectory, "/")
}

func boxName(maildir bool) string {
	if maildir {
		return "maildir"
	}
	return "mailbox"
}

// copy is the form in which a message is delivered; kind is a word of
// prepend_delivered_header.
func (d *delivery) copy(s *state, kind string) asuser.Copy {
	c := asuser.Copy{ReturnPath: true, Sender: s.sender}
	if d.set.OriginalRecipient {
		c.Original = s.original
	}
	if d.prepends[kind] {
		c.Delivered = s.delivered
	}
	return c
}

func (d *delivery) boxCopy(s *state, maildir bool) asuser.Copy {
	c := d.copy(s, "file")
	if !maildir {
		c = c.Mbox()
	}
	return c
}

// file appends to a file, or delivers into a Maildir.
func (d *delivery) file(s state, path string) bool {
	s.level++
	if d.seen.before("file", key(s.rightsKey(), path)) {
		return false
	}
	if !d.toFiles[s.place] {
		return d.failsToOwner(&s, d.status(deliver.Bounced, "5.7.1", "mail to file is restricted"))
	}
	if d.req.Verify {
		return d.sent(&s, "delivers to file: "+path)
	}
	maildir := strings.HasSuffix(path, "/")
	r, err := d.ask(&asuser.Request{Op: asuser.OpFile, User: s.rightsName(), Path: path, Copy: d.boxCopy(&s, maildir)})
	if err != nil {
		return d.unavailable(&s, err)
	}
	switch {
	case r.DSN == "" && maildir:
		return d.sent(&s, "delivered to maildir")
	case r.DSN == "":
		return d.sent(&s, "delivered to file: "+path)
	case maildir:
		return d.fails(&s, d.failure(r, "maildir delivery failed: "+r.Reason))
	}
	return d.failsToOwner(&s, d.failure(r, fmt.Sprintf("cannot append message to file %s: %s", path, r.Reason)))
}
