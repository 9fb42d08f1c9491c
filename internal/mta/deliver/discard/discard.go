// Package discard is the delivery agent that throws mail away, Postfix's
// discard(8): every recipient is reported as delivered, with the next hop as
// the reason.
package discard

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Agent discards. It is a [deliver.Agent].
type Agent struct{}

// Deliver implements [deliver.Agent].
func (Agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	text := r.Nexthop
	if text == "" {
		text = "mail discarded"
	}
	dsn, n := smtp.ParseEnhanced(text)
	if n == 0 || dsn[0] != 2 {
		dsn, n = smtp.Enhanced{2, 0, 0}, 0
	}
	for n < len(text) && text[n] == ' ' {
		n++
	}
	status := deliver.Status{Action: deliver.Final, Enhanced: dsn, Text: text[n:], Relay: "none"}
	for i := range r.Recipients {
		report(i, status)
	}
}
