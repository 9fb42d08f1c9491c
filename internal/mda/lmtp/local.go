package lmtp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp/logprefix"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// inbox is where messages without detail go.
const inbox = "INBOX"

// Local is a [Mailer] that saves in this process, with its privileges.
type Local struct {
	Dovecot *dovecot.Config
	Pool    *mailbox.Pool
	Log     *maillog.Logger
	Owners  store.OwnerLookup // of shared mailboxes; nil for none but by mail_home

	once   sync.Once
	err    error
	set    *Settings
	prefix *logprefix.Settings
	format *deliverLog
}

var _ Mailer = (*Local)(nil)

func (l *Local) configure() {
	f := dovecot.Filter{Service: "lmtp"}
	if l.set, l.err = dovecot.Get[Settings](l.Dovecot, f); l.err != nil {
		return
	}
	if l.prefix, l.err = dovecot.Get[logprefix.Settings](l.Dovecot, f); l.err != nil {
		return
	}
	l.format = newDeliverLog(l.set.DeliverLogFormat)
}

// Deliver implements [Mailer].
func (l *Local) Deliver(ctx context.Context, info store.UserInfo, detail string, env Envelope, msg Content) error {
	if l.once.Do(l.configure); l.err != nil {
		return l.err
	}
	if info.Service == "" {
		info.Service = "lmtp"
	}
	info.SessionID = env.Session
	log := l.Log.With(l.prefix.Tag(&info))
	user, err := store.OpenUser(ctx, l.Dovecot, info, l.Pool, log)
	if err != nil {
		return fmt.Errorf("user %s: %w", info.Username, err)
	}
	defer user.Close()
	user.LookUpOwners(l.Owners)
	d := delivery{l: l, log: log, user: user, env: &env, msg: msg}
	err = d.run(ctx, detail)
	user.AutoExpunge(ctx)
	return err
}

// A delivery saves one copy.
type delivery struct {
	l    *Local
	log  *maillog.Logger
	user *store.User
	env  *Envelope
	msg  Content
}

func (d *delivery) run(ctx context.Context, detail string) error {
	name, box, err := d.open(ctx, detail)
	if err == nil {
		err = d.save(ctx, box)
		box.Close() //nolint:errcheck // the copy is durable, or failed already
	}
	if err != nil {
		d.report(saveFailed + name + ": " + clientText(err))
		var known *store.Error
		if !errors.As(err, &known) || known.Err != nil {
			d.log.Errorf("%s: %v", name, inner(err))
		}
		return err
	}
	d.report(savedTo + name)
	return nil
}

// open opens the mailbox to save into: the detail mailbox if it can be used,
// else INBOX.
func (d *delivery) open(ctx context.Context, detail string) (string, *mailbox.Mailbox, error) {
	if detail != "" {
		box, err := d.openDetail(ctx, detail)
		if err == nil {
			return detail, box, nil
		}
		d.report("save failed to open mailbox " + detail + ": " + clientText(err))
	}
	box, err := d.user.MailboxToDeliver(ctx, inbox)
	return inbox, box, err
}

func (d *delivery) openDetail(ctx context.Context, name string) (*mailbox.Mailbox, error) {
	box, err := d.user.MailboxToDeliver(ctx, name)
	if !errors.Is(err, mailbox.ErrNotExist) || !d.l.set.LDAMailboxAutocreate {
		return box, err
	}
	if err := d.user.Create(ctx, name); err != nil && !exists(err) {
		return nil, err
	}
	if d.l.set.LDAMailboxAutosub {
		if err := d.user.Subscribe(ctx, name); err != nil {
			d.log.Errorf("Mailbox %s: subscribe failed: %v", name, err)
		}
	}
	return d.user.MailboxToDeliver(ctx, name)
}

// exists reports that another delivery was faster.
func exists(err error) bool {
	var known *store.Error
	return errors.As(err, &known) && known.Code == store.CodeAlreadyExists
}

// nullSender is what an mbox has as sender of messages whose sender must not be told of failures.
const nullSender = "MAILER-DAEMON"

func (d *delivery) save(ctx context.Context, box *mailbox.Mailbox) error {
	save, err := box.Save(ctx, mailbox.SaveOptions{Sender: cmp.Or(d.env.Sender, nullSender)})
	if err != nil {
		return err
	}
	n, err := writeContent(save, d.msg)
	if err == nil && n != d.msg.Size() {
		err = fmt.Errorf("%d bytes of %d: %w", n, d.msg.Size(), io.ErrUnexpectedEOF)
	}
	if err != nil {
		save.Abort()
		return err
	}
	_, err = save.Commit(ctx)
	return err
}

// writeContent writes a message that is in memory at once, another in pieces.
func writeContent(w io.Writer, msg Content) (int64, error) {
	if wt, ok := msg.(io.WriterTo); ok {
		return wt.WriteTo(w)
	}
	return copyContent(w, msg)
}

// report writes the delivery's line to the log.
func (d *delivery) report(result string) {
	d.l.format.print(d.log, result, d.env, d.msg)
}

// clientText is what an error says outside.
func clientText(err error) string {
	var known *store.Error
	switch {
	case errors.Is(err, mailbox.ErrNoSpace):
		return noSpace
	case errors.As(err, &known):
		return known.Text
	}
	return "Internal error occurred. Refer to server log for more information."
}

// inner is what an error says to the administrator.
func inner(err error) error {
	var known *store.Error
	if errors.As(err, &known) && known.Err != nil {
		return known.Err
	}
	return err
}
