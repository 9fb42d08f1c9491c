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
	Lifetime        time.Duration `set:"maximal_queue_lifetime" default:"5d" unit:"d" doc:"how long mail is tried"`
	TemplateFile    string        `set:"bounce_template_file" doc:"file with the texts of notifications; empty for those built in"`
	Threaded        bool          `set:"enable_threaded_bounces" default:"no" doc:"notifications refer to the message that they are about"`
	NoVERP          bool          `set:"disable_verp_bounces" default:"no" doc:"failures of VERP mail are told in one notification to its sender"`
	VERPFilter      string        `set:"verp_delimiter_filter" default:"-=+" nonempty:"yes" doc:"characters that may be VERP delimiters"`
}

var _ = postfix.Register("bounce", Settings{})

// Config is what a Bouncer works with.
type Config struct {
	Main    *postfix.Main
	Store   *queue.Store // for the content of what is returned
	Cleanup *cleanup.Cleanup
	Log     *maillog.Logger // tag "postfix/bounce[pid]"
	Now     func() time.Time
	// ReadFile reads bounce_template_file; nil for os.ReadFile.
	ReadFile func(path string) ([]byte, error)
}

// A Bouncer writes notifications. It is safe for concurrent use.
type Bouncer struct {
	set     Settings
	core    postfix.Core
	store   *queue.Store
	cleanup *cleanup.Cleanup
	log     *maillog.Logger
	now     func() time.Time

	failure, doubled, delay, success, verify kind
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
	if err := c.Main.Decode(&b.core); err != nil {
		return nil, err
	}
	return b, b.makeKinds(&c)
}

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
	case b.hasVERP(m):
		return b.verpFailures(ctx, m, recipients)
	}
	return b.tell(ctx, m, recipients, &b.failure, m.Sender)
}

// Delay warns the sender that mail for the recipients is still being tried. Of
// mail with the null sender the postmaster may want to know (class delay).
func (b *Bouncer) Delay(ctx context.Context, m *queue.Message, recipients []int) error {
	switch {
	case strings.EqualFold(m.Sender, b.doubleBounce()):
		b.log.Warningf("%s: undeliverable postmaster notification discarded", m.ID)
		return nil
	case m.Sender == "" && !b.notifies(b.delay.class):
		return nil
	case m.Sender == "":
		k := b.delay
		k.whole = true
		return b.send(ctx, m, recipients, &k, note{to: b.set.DelayRecipient, from: b.doubleBounce(), who: "postmaster", copy: true})
	}
	return b.tell(ctx, m, recipients, &b.delay, m.Sender)
}

// Success tells the sender about deliveries: of which is the caller's decision.
func (b *Bouncer) Success(ctx context.Context, m *queue.Message, recipients []int) error {
	return b.traced(ctx, m, recipients, &b.success)
}

// Trace tells the sender what became, or would become, of all the recipients
// (sendmail -v and -bv), whatever their NOTIFY says.
func (b *Bouncer) Trace(ctx context.Context, m *queue.Message, recipients []int) error {
	return b.traced(ctx, m, recipients, &b.verify)
}

// traced sends a report of the trace service.
func (b *Bouncer) traced(ctx context.Context, m *queue.Message, recipients []int, k *kind) error {
	n := note{to: m.Sender, who: "sender"}
	switch {
	case strings.EqualFold(m.Sender, b.doubleBounce()):
		b.log.Infof("%s: not sending trace/success notification for double-bounce message", m.ID)
		return nil
	case m.Sender == "" && b.notifies(b.doubled.class):
		n.to, n.from = b.set.DoubleRecipient, b.doubleBounce()
	case m.Sender == "":
		b.log.Infof("%s: not sending trace/success notification for single-bounce message", m.ID)
		return nil
	}
	return b.send(ctx, m, recipients, k, n)
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
func (b *Bouncer) tell(ctx context.Context, m *queue.Message, recipients []int, k *kind, sender string) error {
	if err := b.send(ctx, m, k.wanted(m, recipients), k, note{to: sender, who: "sender"}); err != nil {
		return err
	}
	if !b.notifies(k.class) {
		return nil
	}
	to := b.set.BounceRecipient
	if k == &b.delay {
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
	if !b.notifies(b.doubled.class) && !b.notifies(b.failure.class) {
		return nil
	}
	return b.send(ctx, m, recipients, &b.doubled, note{to: b.set.DoubleRecipient, from: b.doubleBounce(), who: "postmaster", copy: true})
}

func (b *Bouncer) notifies(class string) bool {
	return slices.Contains(postfix.SplitList(b.set.NotifyClasses), class)
}

// doubleBounce is the sender of mail that must not be bounced.
func (b *Bouncer) doubleBounce() string { return b.core.DoubleBounceSender + "@" + b.core.Myhostname }

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
		Recipients:     []queue.Recipient{{Address: n.to}},
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
