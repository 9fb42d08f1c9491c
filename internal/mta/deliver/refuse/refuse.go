// Package refuse is the delivery agent that delivers nothing, Postfix's
// error(8): under its own name it returns mail to the sender, as retry it
// leaves it in the queue. The next hop is the reason, with an enhanced status
// code in front if it has one.
package refuse

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Agent refuses with one action: [Bounce] or [Retry]. It is a [deliver.Agent].
type Agent struct {
	action deliver.Action
	dsn    smtp.Enhanced // when the next hop has none
}

// The two agents of master.cf.
var (
	Bounce = Agent{deliver.Bounced, smtp.Enhanced{5, 0, 0}} // error
	Retry  = Agent{deliver.Deferred, smtp.Enhanced{4, 0, 0}}
)

// Deliver implements [deliver.Agent].
func (a Agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	text := r.Nexthop
	dsn, n := smtp.ParseEnhanced(text)
	if n == 0 {
		dsn = a.dsn
	}
	dsn[0] = a.dsn[0] // the service's name decides, not the text
	for n < len(text) && text[n] == ' ' {
		n++
	}
	status := deliver.Status{Action: a.action, Enhanced: dsn, Text: text[n:], Relay: "none"}
	for i := range r.Recipients {
		report(i, status)
	}
}
