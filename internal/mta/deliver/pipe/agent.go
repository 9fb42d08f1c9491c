package pipe

import (
	"context"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Settings are the parameters of pipe(8) besides those of the privileged process.
type Settings struct {
	OriginalRecipient bool `set:"enable_original_recipient" default:"yes" doc:"add an X-Original-To header"`
}

var _ = postfix.Register("pipe", Settings{})

// Config is what an agent needs.
type Config struct {
	Main     *postfix.Main // with the overrides of its master.cf entry
	Entry    *postfix.ServiceEntry
	Resolver *resolve.Resolver
	Asuser   *asuser.Client
	Log      *maillog.Logger
}

// An Agent delivers to a program. It is a [deliver.Agent].
type Agent struct {
	Config
	set   *Settings
	core  *postfix.Core
	entry *asuser.PipeEntry
	bad   error // why the entry cannot be used; its mail waits
}

var _ deliver.Agent = (*Agent)(nil)

// New returns an agent. A mistake in the arguments of the entry is told with each
// delivery, as Postfix has it.
func New(c Config) (*Agent, error) {
	a := &Agent{Config: c}
	var err error
	if a.set, err = postfix.Get[Settings](c.Main); err != nil {
		return nil, err
	}
	if a.core, err = postfix.Get[postfix.Core](c.Main); err != nil {
		return nil, err
	}
	a.entry, a.bad = asuser.ParsePipe(c.Entry)
	return a, nil
}

// maxReported bounds the output of a program that is reported with its success.
const maxReported = 100

// Deliver implements [deliver.Agent].
func (a *Agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	st := a.deliver(ctx, r)
	for i := range r.Recipients {
		report(i, st)
	}
}

// deliver makes the delivery, which is one for all recipients.
func (a *Agent) deliver(ctx context.Context, r *deliver.Request) deliver.Status {
	if a.bad != nil {
		a.Log.Fatalf("%v", a.bad)
		return a.unavailable()
	}
	if st, ok := a.refuse(r); ok {
		return st
	}
	argv, err := a.arguments(r)
	if err != nil {
		a.Log.Warningf("%v", err)
		return a.misconfigured()
	}
	msg := asuser.NewMessage(r.Content, a.core.QueueDirectory)
	defer msg.Close()
	req := &asuser.Request{Op: asuser.OpPipe, Service: a.Entry.Name, Argv: argv, Copy: a.copy(r)}
	f, err := msg.For(req)
	var reply *asuser.Reply
	if err == nil {
		reply, _, err = a.Asuser.Do(ctx, req, f)
	}
	if err != nil {
		a.Log.Fatalf("%v", err)
		return a.unavailable()
	}
	if reply.Fatal != "" {
		a.Log.Fatalf("%s", reply.Fatal)
	}
	for _, w := range reply.Warnings {
		a.Log.Warningf("%s", w)
	}
	return a.done(reply)
}

// refuse looks for what keeps a message from being given to the program.
func (a *Agent) refuse(r *deliver.Request) (st deliver.Status, refused bool) {
	e := a.entry
	for _, flag := range []struct {
		set  bool
		name byte
	}{{e.Delivered, 'D'}, {e.Original, 'O'}} {
		if flag.set && len(r.Recipients) > 1 {
			a.Log.Warningf("pipe flag `%c' requires %s_destination_recipient_limit = 1", flag.name, a.Entry.Name)
			return a.misconfigured(), true
		}
	}
	switch {
	case e.Size > 0 && r.Message.Size > e.Size:
		return a.status(deliver.Bounced, "5.2.3", "message too large"), true
	case r.Verify:
		return a.status(a.success(), "2.0.0", "delivers to command: "+e.Command[0]), true
	case e.Delivered && asuser.IsLoop(asuser.DeliveredTo(r.Content), r.Recipients[0].Address):
		return a.status(deliver.Bounced, "5.4.6", "mail forwarding loop for "+r.Recipients[0].Address), true
	}
	return st, false
}

func (a *Agent) success() deliver.Action {
	if a.entry.Final {
		return deliver.Final
	}
	return deliver.Relayed
}

// sender is what the program is told of the null sender.
func (a *Agent) sender(r *deliver.Request) string {
	if r.Message.Sender == "" {
		return a.entry.NullSender
	}
	return r.Message.Sender
}

func (a *Agent) copy(r *deliver.Request) asuser.Copy {
	e, to := a.entry, &r.Recipients[0]
	c := asuser.Copy{
		From: e.From, ReturnPath: e.ReturnPath, Quote: e.Quote, Dot: e.Dot, Blank: e.Blank, Sender: a.sender(r), EOL: e.EOL,
	}
	if e.Original && a.set.OriginalRecipient {
		c.Original = to.Original
	}
	if e.Delivered {
		c.Delivered = to.Address
	}
	return c
}

// done is the status after the program has ended.
func (a *Agent) done(r *asuser.Reply) deliver.Status {
	if r.DSN == "" {
		text := "delivered via " + a.Entry.Name + " service"
		if output := strings.TrimRight(r.Output, " "); output != "" {
			text += " (" + output[:min(len(output), maxReported)] + ")"
		}
		return a.status(a.success(), "2.0.0", text)
	}
	st := a.status(deliver.Bounced, r.DSN, r.Reason)
	if strings.HasPrefix(r.DSN, "4") {
		st.Action = deliver.Deferred
	}
	if r.Detail != "" {
		st.RemoteCode = "x-unix; " + r.Detail
	}
	return st
}

func (a *Agent) status(action deliver.Action, dsn, text string) deliver.Status {
	code, _ := smtp.ParseEnhanced(dsn)
	return deliver.Status{Action: action, Enhanced: code, Text: text, Relay: a.Entry.Name}
}

func (a *Agent) misconfigured() deliver.Status {
	return a.status(deliver.Deferred, "4.3.5", "mail system configuration error")
}

// unavailable is what the queue manager says when the agent cannot work at all.
func (a *Agent) unavailable() deliver.Status {
	st := a.status(deliver.Deferred, "4.3.0", "unknown mail transport error")
	st.Relay = "none"
	return st
}
