package bounce

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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

// A kind is one of the three notifications.
type kind struct {
	name       string // in the log: "non-delivery", "delay", "delivery status"
	subject    string
	postmaster string // subject of the postmaster's copy
	class      string // notify class of that copy
	action     string // RFC 3464 2.3.3, where the outcome names none
	part       string // Content-Description of the third part
	text       string
	whole      bool // the message itself is returned, not only its header
}

var (
	failure = kind{name: "non-delivery", subject: "Undelivered Mail Returned to Sender", postmaster: "Postmaster Copy: Undelivered Mail",
		class: "bounce", action: "failed", part: "Undelivered Message", text: failureText, whole: true}
	delay = kind{name: "delay", subject: "Delayed Mail (still being retried)", postmaster: "Postmaster Warning: Delayed Mail",
		class: "delay", action: "delayed", part: "Undelivered Message", text: delayText}
	success = kind{name: "delivery status", subject: "Successful Mail Delivery Report", action: "delivered", part: "Message", text: successText}
)

// Failure tells the sender of m about the recipients that failed, by their
// indexes; m.Outcomes say why. After an error nothing was sent and the call
// must be repeated: it is temporary.
func (b *Bouncer) Failure(ctx context.Context, m *queue.Message, recipients []int) error {
	if m.Sender == "" {
		return b.double(ctx, m, recipients)
	}
	if strings.EqualFold(m.Sender, b.doubleBounce()) {
		b.log.Warningf("%s: undeliverable postmaster notification discarded", m.ID)
		return nil
	}
	told := wanting(m, recipients, func(notify uint8) bool { return notify == 0 || notify&queue.NotifyFailure != 0 })
	return b.tell(ctx, m, told, &failure)
}

// Delay warns the sender that mail for the recipients is still being tried.
func (b *Bouncer) Delay(ctx context.Context, m *queue.Message, recipients []int) error {
	if m.Sender == "" {
		return nil
	}
	told := wanting(m, recipients, func(notify uint8) bool { return notify == 0 || notify&queue.NotifyDelay != 0 })
	return b.tell(ctx, m, told, &delay)
}

// Success tells the sender, who has asked for it, about deliveries.
func (b *Bouncer) Success(ctx context.Context, m *queue.Message, recipients []int) error {
	if m.Sender == "" {
		return nil
	}
	told := wanting(m, recipients, func(notify uint8) bool { return notify&queue.NotifySuccess != 0 })
	return b.send(ctx, m, told, &success, note{to: m.Sender, who: "sender"})
}

// wanting returns the recipients whose NOTIFY parameter asks for it (RFC 3461 4.1).
func wanting(m *queue.Message, recipients []int, want func(uint8) bool) []int {
	var told []int
	for _, i := range recipients {
		if n := m.Recipients[i].Notify; n&queue.NotifyNever == 0 && want(n) {
			told = append(told, i)
		}
	}
	return told
}

// tell sends the sender's notification and the postmaster's copy of it.
func (b *Bouncer) tell(ctx context.Context, m *queue.Message, recipients []int, k *kind) error {
	if err := b.send(ctx, m, recipients, k, note{to: m.Sender, who: "sender"}); err != nil {
		return err
	}
	if !b.notifies(k.class) {
		return nil
	}
	to := b.set.BounceRecipient
	if k == &delay {
		to = b.set.DelayRecipient
	}
	return b.send(ctx, m, recipients, k, note{to: to, from: b.doubleBounce(), who: "postmaster", copy: true})
}

// double deals with a message whose sender cannot be told.
func (b *Bouncer) double(ctx context.Context, m *queue.Message, recipients []int) error {
	if !b.notifies("2bounce") {
		return nil
	}
	return b.send(ctx, m, recipients, &failure, note{to: b.set.DoubleRecipient, from: b.doubleBounce(), who: "postmaster", copy: true})
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
	copy bool   // the postmaster's: header only
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
		Sender: n.from, Recipients: []queue.Recipient{{Address: n.to, Original: n.to, Notify: queue.NotifyNever}},
		RewriteContext: "local", SMTPUTF8: m.SMTPUTF8, Encoding: m.Encoding,
	}
	if err := out.Finish(ctx, env); err != nil {
		return fmt.Errorf("bounce of %s: %w", m.ID, err)
	}
	b.log.Infof("%s: %s %s notification: %s", m.ID, n.who, k.name, id)
	return nil
}
