// Package virtual is virtual(8): it delivers to the mailboxes that
// virtual_mailbox_maps names, for addresses that are no users of this system.
//
// A mailbox is virtual_mailbox_base and what the table says, with a slash at the end
// a Maildir; its owner is who virtual_uid_maps and virtual_gid_maps say. There are no
// aliases, .forward files or commands. The mailbox is written by the privileged
// process, which checks base and owner once more: see package asuser.
package virtual

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Settings are the parameters of virtual(8) besides those of the privileged process.
type Settings struct {
	MailboxMaps       string `set:"virtual_mailbox_maps" doc:"valid recipients of virtual mailbox domains, and their mailboxes"`
	UIDMaps           string `set:"virtual_uid_maps" doc:"owners of virtual mailboxes, by recipient"`
	GIDMaps           string `set:"virtual_gid_maps" doc:"groups of virtual mailboxes, by recipient"`
	MinimumUID        int    `set:"virtual_minimum_uid" default:"100" min:"1" doc:"smallest uid of a virtual mailbox"`
	OriginalRecipient bool   `set:"enable_original_recipient" default:"yes" doc:"add an X-Original-To header"`
}

var _ = postfix.Register("virtual", Settings{})

// Config is what an agent needs.
type Config struct {
	Main     *postfix.Main // with the overrides of its master.cf entry
	Service  string        // name of that
	Resolver *resolve.Resolver
	Tables   resolve.Opener
	Asuser   *asuser.Client
	Log      *maillog.Logger
}

// An Agent delivers to virtual mailboxes. It is a [deliver.Agent].
type Agent struct {
	Config
	set                   *Settings
	core                  *postfix.Core
	mailboxes, uids, gids resolve.Maps
}

var _ deliver.Agent = (*Agent)(nil)

// New returns an agent. An error is one of the configuration.
func New(c Config) (*Agent, error) {
	a := &Agent{Config: c}
	var err error
	if a.set, err = postfix.Get[Settings](c.Main); err != nil {
		return nil, err
	}
	if a.core, err = postfix.Get[postfix.Core](c.Main); err != nil {
		return nil, err
	}
	if err := asuser.Check(c.Main, true); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		dst          *resolve.Maps
		param, value string
	}{
		{&a.mailboxes, "virtual_mailbox_maps", a.set.MailboxMaps}, {&a.uids, "virtual_uid_maps", a.set.UIDMaps}, {&a.gids, "virtual_gid_maps", a.set.GIDMaps},
	} {
		if *m.dst, err = c.Tables.OpenMaps(m.param, m.value); err != nil {
			return nil, fmt.Errorf("%s: %w", m.param, err)
		}
	}
	return a, nil
}

// Deliver implements [deliver.Agent].
func (a *Agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	msg := asuser.NewMessage(r.Content, a.core.QueueDirectory)
	defer msg.Close()
	for i := range r.Recipients {
		d := &delivery{Agent: a, ctx: ctx, req: r, to: &r.Recipients[i], user: strings.ToLower(r.Recipients[i].Address), content: msg}
		report(i, d.run())
	}
}

// A delivery is that to one recipient.
type delivery struct {
	*Agent
	ctx     context.Context
	req     *deliver.Request
	to      *deliver.Recipient
	user    string // the address as it is looked up
	content *asuser.Message
}

func (d *delivery) run() deliver.Status {
	base, err := asuser.VirtualBase(d.Main)
	if err != nil {
		d.Log.Fatalf("%v", err)
		return d.unavailable()
	}
	path, found, err := d.find(d.mailboxes)
	if err != nil {
		d.Log.Warningf("table virtual_mailbox_maps: lookup %s: %v", d.user, err)
		return d.misconfigured()
	}
	if !found {
		return d.status(deliver.Bounced, "5.1.1", `unknown user: "`+d.user+`"`)
	}
	uid, ok := d.owner(d.uids, "uid", d.set.MinimumUID)
	if !ok {
		return d.misconfigured()
	}
	gid, ok := d.owner(d.gids, "gid", 1)
	if !ok {
		return d.misconfigured()
	}
	return d.deliver(base+"/"+path, uid, gid)
}

// find looks the recipient up, as virtual_mailbox_maps and the others are searched.
func (d *delivery) find(maps resolve.Maps) (value string, found bool, err error) {
	value, _, found, err = d.Resolver.Find(d.ctx, maps, d.user, resolve.FindDefault)
	return value, found, err
}

// owner looks a number up that must not be too small.
func (d *delivery) owner(maps resolve.Maps, what string, least int) (id uint32, ok bool) {
	value, found, err := d.find(maps)
	if err != nil || !found {
		d.Log.Warningf("recipient %s: not found in virtual_%s_maps", d.user, what)
		return 0, false
	}
	digits := strings.TrimLeft(value, " \t\n")
	end := len(digits) - len(strings.TrimLeft(digits, "0123456789"))
	n, err := strconv.ParseUint(digits[:end], 10, 32)
	if err != nil || n < uint64(max(least, 1)) {
		d.Log.Warningf("recipient %s: bad %s %s in virtual_%s_maps", d.user, what, value, what)
		return 0, false
	}
	return uint32(n), true
}

func (d *delivery) deliver(path string, uid, gid uint32) deliver.Status {
	maildir := strings.HasSuffix(path, "/")
	what := "mailbox"
	if maildir {
		what = "maildir"
	}
	if d.req.Verify {
		return d.status(deliver.Final, "2.0.0", "delivers to "+what)
	}
	c := asuser.Copy{ReturnPath: true, Sender: d.req.Message.Sender, Delivered: d.to.Address}
	if d.set.OriginalRecipient {
		c.Original = d.to.Original
	}
	if !maildir {
		c = c.Mbox()
	}
	req := &asuser.Request{Op: asuser.OpVirtual, Service: d.Service, Path: path, UID: uid, GID: gid, Copy: c}
	f, err := d.content.For(req)
	var r *asuser.Reply
	if err == nil {
		r, _, err = d.Asuser.Do(d.ctx, req, f)
	}
	if err != nil {
		d.Log.Warningf("%s: %v", d.req.Message.ID, err)
		return d.unavailable()
	}
	for _, w := range r.Warnings {
		d.Log.Warningf("%s", w)
	}
	return d.done(r, path, maildir)
}

// done is the status after the privileged process has done its work.
func (d *delivery) done(r *asuser.Reply, path string, maildir bool) deliver.Status {
	switch {
	case r.DSN == "" && maildir:
		return d.status(deliver.Final, "2.0.0", "delivered to maildir")
	case r.DSN == "":
		return d.status(deliver.Final, "2.0.0", "delivered to mailbox")
	}
	text := "maildir delivery failed: " + r.Reason
	if !maildir {
		text = "delivery failed to mailbox " + path + ": " + r.Reason
	}
	if r.NotRegular {
		d.Log.Warningf("recipient %s: destination %s is not a regular file", d.to.Address, path)
	}
	st := d.status(deliver.Bounced, r.DSN, text)
	if strings.HasPrefix(r.DSN, "4") {
		st.Action = deliver.Deferred
	}
	if r.Detail != "" {
		st.RemoteCode = "x-unix; " + r.Detail
	}
	return st
}

func (d *delivery) status(action deliver.Action, dsn, text string) deliver.Status {
	code, _ := smtp.ParseEnhanced(dsn)
	return deliver.Status{Action: action, Enhanced: code, Text: text, Relay: d.Service}
}

// misconfigured is for tables that say nothing of use: the administrator will mend them.
func (d *delivery) misconfigured() deliver.Status {
	return d.status(deliver.Deferred, "4.3.5", "mail system configuration error")
}

// unavailable is for a privileged process that cannot be asked.
func (d *delivery) unavailable() deliver.Status {
	st := d.status(deliver.Deferred, "4.3.0", "unknown mail transport error")
	st.Relay = "none"
	return st
}
