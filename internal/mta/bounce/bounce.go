package bounce

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// Settings are the parameters of notifications.
type Settings struct {
	SizeLimit       int           `set:"bounce_size_limit" default:"50000" min:"1" doc:"larger messages are returned without their body"`
	NotifyClasses   string        `set:"notify_classes" default:"resource, software" doc:"what the postmaster is told of"`
	BounceRecipient string        `set:"bounce_notice_recipient" default:"postmaster" nonempty:"yes" doc:"who gets copies of bounces (notify class bounce)"`
	DoubleRecipient string        `set:"2bounce_notice_recipient" default:"postmaster" nonempty:"yes" doc:"who gets what cannot be bounced (notify class 2bounce)"`
	DelayRecipient  string        `set:"delay_notice_recipient" default:"postmaster" nonempty:"yes" doc:"who gets copies of delay warnings (notify class delay)"`
	DelayWarning    time.Duration `set:"delay_warning_time" default:"0h" unit:"h" doc:"age at which a sender is told that mail is delayed; 0 for never"`
	Lifetime        time.Duration `set:"maximal_queue_lifetime" default:"5d" unit:"d" doc:"how long mail is tried"`
}

var _ = postfix.Register("bounce", Settings{})

// Config is what a Bouncer works with.
type Config struct {
	Main    *postfix.Main
	Store   *queue.Store // for the content of what is returned
	Cleanup *cleanup.Cleanup
	Log     *maillog.Logger // tag "postfix/bounce[pid]"
	Now     func() time.Time
}

// A Bouncer writes notifications. It is safe for concurrent use.
type Bouncer struct {
	set     Settings
	core    postfix.Core
	store   *queue.Store
	cleanup *cleanup.Cleanup
	log     *maillog.Logger
	now     func() time.Time
}

// New returns a bouncer with the parameters of c.Main.
func New(c Config) (*Bouncer, error) {
	b := &Bouncer{store: c.Store, cleanup: c.Cleanup, log: c.Log, now: c.Now}
	if b.now == nil {
		b.now = time.Now
	}
	if err := c.Main.Decode(&b.set); err != nil {
		return nil, err
	}
	return b, c.Main.Decode(&b.core)
}

// A kind is one of the notifications.
type kind struct {
	name       string // in the log: "non-delivery", "delay", "delivery status"
	subject    string
	postmaster string // subject of the postmaster's copy
	class      string // notify class of that copy
	doing      string // what was done to the sender when that copy failed
	notify     uint8  // what NOTIFY must say
	action     string // RFC 3464 2.3.3, where the outcome names none
	part       string // Content-Description of the third part
	text       string
	whole      bool // the message itself is returned, not only its header
}

var (
	failure = kind{name: "non-delivery", subject: "Undelivered Mail Returned to Sender", postmaster: "Postmaster Copy: Undelivered Mail",
		class: "bounce", doing: "bouncing to", notify: queue.NotifyFailure, action: "failed", part: "Undelivered Message", text: failureText, whole: true}
	doubled = kind{name: "non-delivery", postmaster: failure.postmaster, class: "2bounce", action: "failed", part: failure.part, whole: true}
	delay   = kind{name: "delay", subject: "Delayed Mail (still being retried)", postmaster: "Postmaster Warning: Delayed Mail",
		class: "delay", doing: "warning", notify: queue.NotifyDelay, action: "delayed", part: "Undelivered Message", text: delayText}
	success = kind{name: "delivery status", subject: "Successful Mail Delivery Report", notify: queue.NotifySuccess, action: "delivered", part: "Message", text: successText}
)

// Failure tells the sender of m about the recipients that failed, by their
// indexes; m.Outcomes say why. Those whose NOTIFY does not ask for it are left
// out here, but the postmaster's copy shows all. After an error the sender was
// not told and the call must be repeated: it is temporary.
func (b *Bouncer) Failure(ctx context.Context, m *queue.Message, recipients []int) error {
	switch {
	case m.Sender == "":
		return b.double(ctx, m, recipients)
	case strings.EqualFold(m.Sender, b.doubleBounce()):
		b.log.Warningf("%s: undeliverable postmaster notification discarded", m.ID)
		return nil
	}
	return b.tell(ctx, m, recipients, &failure)
}

// Delay warns the sender that mail for the recipients is still being tried.
func (b *Bouncer) Delay(ctx context.Context, m *queue.Message, recipients []int) error {
	if m.Sender == "" {
		return nil
	}
	return b.tell(ctx, m, recipients, &delay)
}

// Success tells the sender, who has asked for it, about deliveries.
func (b *Bouncer) Success(ctx context.Context, m *queue.Message, recipients []int) error {
	if m.Sender == "" {
		return nil
	}
	return b.send(ctx, m, success.wanted(m, recipients), &success, note{to: m.Sender, who: "sender"})
}

// wanted returns the recipients whose NOTIFY parameter asks for it, or leaves it
// to the system (RFC 3461 4.1).
func (k *kind) wanted(m *queue.Message, recipients []int) []int {
	var told []int
	for _, i := range recipients {
		n := m.Recipients[i].Notify
		if n == 0 {
			n = queue.NotifyFailure | queue.NotifyDelay
		}
		if n&k.notify != 0 {
			told = append(told, i)
		}
	}
	return told
}

// tell sends the sender's notification and the postmaster's copy, which is a
// convenience: mail is not bounced twice for want of it.
func (b *Bouncer) tell(ctx context.Context, m *queue.Message, recipients []int, k *kind) error {
	if err := b.send(ctx, m, k.wanted(m, recipients), k, note{to: m.Sender, who: "sender"}); err != nil {
		return err
	}
	if !b.notifies(k.class) {
		return nil
	}
	to := b.set.BounceRecipient
	if k == &delay {
		to = b.set.DelayRecipient
	}
	if err := b.send(ctx, m, recipients, k, note{to: to, from: b.doubleBounce(), who: "postmaster", copy: true}); err != nil {
		b.log.Warningf("%s: postmaster notice failed while %s %s: %v", m.ID, k.doing, m.Sender, err)
	}
	return nil
}

// double deals with a message whose sender cannot be told: at most the
// postmaster is, who gets the whole message.
func (b *Bouncer) double(ctx context.Context, m *queue.Message, recipients []int) error {
	if !b.notifies(doubled.class) {
		return nil
	}
	return b.send(ctx, m, recipients, &doubled, note{to: b.set.DoubleRecipient, from: b.doubleBounce(), who: "postmaster", copy: true})
}

func (b *Bouncer) notifies(class string) bool {
	return slices.Contains(postfix.SplitList(b.set.NotifyClasses), class)
}

// doubleBounce is the sender of mail that must not be bounced.
func (b *Bouncer) doubleBounce() string { return b.core.DoubleBounceSender + "@" + b.core.Myorigin }

// A note is one copy of a notification.
type note struct {
	to   string
	from string // envelope sender
	who  string // for the log
	copy bool   // the postmaster's: no explanation, normally header only
}

// send queues one notification about the recipients, if there are any.
func (b *Bouncer) send(ctx context.Context, m *queue.Message, recipients []int, k *kind, n note) error {
	if len(recipients) == 0 {
		return nil
	}
	out, err := b.cleanup.Start(ctx, cleanup.Origin{Sender: n.from, Local: true, Internal: true})
	if err != nil {
		return fmt.Errorf("bounce of %s: %w", m.ID, err)
	}
	w := &report{Bouncer: b, out: out, m: m, recipients: recipients, kind: k, note: n, now: b.now()}
	if err := w.write(); err != nil {
		out.Abort()
		return fmt.Errorf("bounce of %s: %w", m.ID, err)
	}
	id := out.ID()
	env := &queue.Envelope{
		Sender:         n.from,
		Recipients:     []queue.Recipient{{Address: n.to, Original: n.to, DSNOrcpt: b.originalRecipient(n.to)}},
		RewriteContext: "local", SMTPUTF8: m.SMTPUTF8,
	}
	if b.encoding(m) == "8bit" {
		env.Encoding = "8bit"
	}
	if err := out.Finish(ctx, env); err != nil {
		return fmt.Errorf("bounce of %s: %w", m.ID, err)
	}
	b.log.Infof("%s: %s %s notification: %s", m.ID, n.who, k.name, id)
	return nil
}

// originalRecipient is an address as ORCPT names it, decoded.
func (b *Bouncer) originalRecipient(addr string) string {
	if !strings.Contains(addr, "@") {
		addr += "@" + b.core.Myorigin
	}
	return addressType(addr) + ";" + addr
}

// addressType is the type of an address in a report (RFC 6533 3).
func addressType(addr string) string {
	if strings.IndexFunc(addr, func(c rune) bool { return c >= utf8.RuneSelf }) >= 0 {
		return "utf-8"
	}
	return "rfc822"
}

// encoding is that of the report about m, and of its parts. With smtputf8_enable
// it is 8-bit whatever the client declared: replies may be.
func (b *Bouncer) encoding(m *queue.Message) string {
	if b.core.SMTPUTF8Enable {
		return "8bit"
	}
	return m.Encoding
}
