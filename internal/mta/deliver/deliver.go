// Package deliver says what the queue manager asks of a delivery agent, and
// what an agent answers: one [Status] per recipient, decided where it is known.
package deliver

import (
	"context"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// An Agent delivers mail by one transport of master.cf. Deliver is called
// concurrently, up to the destination's concurrency limit.
type Agent interface {
	// Deliver tries every recipient of the request and calls report once for
	// each, with its index in r.Recipients. It returns when all are reported.
	// It never keeps r. When ctx ends, recipients not yet decided are
	// reported as deferred; those already handed over are awaited.
	Deliver(ctx context.Context, r *Request, report func(i int, s Status))
}

// A Request is one message for recipients that share transport and next hop.
type Request struct {
	Message    *queue.Message
	Content    *queue.Content
	Transport  string // name in master.cf
	Nexthop    string
	Recipients []Recipient
	// Verify asks what delivery would say, without delivering anything: the
	// recipient is looked up, but no mailbox is written, no command is run,
	// and a server is asked up to RCPT. The Status is as for a delivery.
	Verify bool
	// ReturnTo is the sender that failures are returned to. It is
	// Message.Sender, but for mail with VERP, whose sender names the recipient.
	ReturnTo string
	Passes   int // agents that have passed it on to another
	// Result, unless nil, logs what became of one address that a recipient,
	// given by its index, was expanded to; original is empty if that is not
	// to be told. It is called before the recipient is reported, with
	// [Status.Logged].
	Result func(i int, address, original string, s *Status)
}

// Recipient is an address to deliver to.
type Recipient struct {
	Address  string // as resolved
	Original string // as given at submission
	DSNOrcpt string // RFC 3461 ORCPT, "rfc822;..." or empty
	Notify   uint8  // queue.Notify bits
}

// An Action says what became of a recipient (RFC 3464 2.3.3).
type Action uint8

// The actions.
const (
	Deferred  Action = iota // to be tried again
	Delivered               // accepted by the next hop, which reports success if asked
	Relayed                 // as Delivered, next hop announced no DSN
	Bounced                 // never to be tried again
	Expanded                // delivered to a list or alias
	Final                   // put into a mailbox or command, or taken by LMTP: no one else will report success
)

var actions = [...]string{
	Deferred: "delayed", Delivered: "relayed", Relayed: "relayed", Bounced: "failed", Expanded: "expanded", Final: "delivered",
}

// String is the word of RFC 3464 2.3.3.
func (a Action) String() string { return actions[a] }

// Status is the outcome for one recipient.
type Status struct {
	Action   Action
	Enhanced smtp.Enhanced // enhanced status code (RFC 3463)
	Text     string        // as logged in "status=sent (TEXT)"
	Relay    string        // as logged in "relay=", "none" when no server was reached
	Uses     int           // deliveries over this connection so far; logged as "conn_use=" from 2 on
	// What the next hop said, for the delivery status notification.
	RemoteMTA  string // "dns; host" or empty
	RemoteCode string // diagnostic: "smtp; 550 5.1.1 ..." or empty
	// When connection setup and transmission began, for the "delays=" field;
	// zero when they never did.
	Connected, Transmit time.Time
	// Dead says that the destination itself failed (no connection, greeting
	// refused): the scheduler stops using it for a while.
	Dead bool
	// Via is the transport that made the delivery, where the agent passed it
	// on; empty for the agent's own.
	Via string
	// Logged says that the lines of the log have been written: the recipient
	// was expanded, and each result was given to [Request.Result].
	Logged bool
}

// Reason is the text as reports of success and of the trace service show it.
func (s *Status) Reason() string {
	if s.Relay == "" || s.Relay == "none" {
		return s.Text
	}
	return "delivery via " + s.Relay + ": " + s.Text
}
