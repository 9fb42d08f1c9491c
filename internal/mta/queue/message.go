package queue

import "time"

// The bits of [Recipient.Notify], as RFC 3461 NOTIFY asks. None set means the
// sender said nothing: failures are reported, delays as configured.
const (
	NotifyNever   uint8 = 1
	NotifySuccess uint8 = 2
	NotifyFailure uint8 = 4
	NotifyDelay   uint8 = 8
)

// The values of [Envelope.Ret], as RFC 3461 RET asks; zero is nothing said.
const (
	RetFull    byte = 1
	RetHeaders byte = 2
)

// The values of [Envelope.Trace]: what the sender asked to be told by the trace
// service, besides what NOTIFY asks. Zero is nothing.
const (
	TraceVerify byte = 1 // what delivery would say; nothing is delivered (sendmail -bv)
	TraceRecord byte = 2 // how delivery went (sendmail -v)
)

// A Recipient is one address a message is for.
type Recipient struct {
	Address  string // where to deliver, after alias expansion
	Original string // as given at submission, before alias expansion
	DSNOrcpt string // RFC 3461 ORCPT, decoded: "rfc822;user@example.com"; or empty
	Notify   uint8  // Notify bits
	// Expanded marks an alias that other recipients stand for: nothing is
	// delivered to it, but its sender asked to be told that it was expanded
	// (RFC 3461 5.2.7).
	Expanded bool
}

// A Client is where a message came from, as known to the SMTP server. All
// fields are empty for local submissions.
type Client struct {
	Name  string // host name, "unknown" if it did not resolve
	Addr  string // IP address
	Port  string
	Proto string // "SMTP", "ESMTP"
	Helo  string
}

// SASL is the login under which a message was submitted.
type SASL struct {
	Method, Username, Sender string
}

// An Envelope is all that is known of a message besides its content.
type Envelope struct {
	Sender         string // empty is the null sender
	Recipients     []Recipient
	FullName       string // of the local submitter
	Encoding       string // "", "7bit" or "8bit" (RFC 6152 BODY)
	SMTPUTF8       bool   // RFC 6531 was asked for
	Ret            byte   // RetFull, RetHeaders
	EnvID          string // RFC 3461 ENVID, decoded
	Client         Client
	SASL           SASL
	RewriteContext string    // "local" or "remote"
	VERP           string    // two delimiters; empty for none
	Filter         string    // transport:nexthop that overrides routing
	Redirect       string    // an address that replaces all recipients
	Verify         bool      // an address probe: nothing is delivered, and only the verify service hears the result
	Trace          byte      // TraceVerify, TraceRecord
	Hold           bool      // goes to the hold queue instead of delivery
	Arrival        time.Time // when the message began to arrive; zero means now
	// Durable, unless nil, is called when the message is durable, before anything is
	// delivered: where the message came from can then be removed, once and for all.
	Durable func() `json:"-"`
}

// A State says what is left to do for a recipient.
type State uint8

// The states of a recipient.
const (
	Pending   State = iota // not tried, or to be tried again
	Failed                 // never to be tried again; the sender is still to be told
	Delivered              // accepted by the next hop; the sender is still to be told
	Done                   // nothing left to do
)

// An Outcome is what the last attempt said about a recipient. For a pending
// recipient that was never tried it is the zero value.
type Outcome struct {
	State  State
	Action string // RFC 3464 2.3.3: "failed", "delayed", "delivered", "relayed", "expanded"
	DSN    string // enhanced status code, "4.4.1"
	Text   string // reason, without DSN
	// What the next hop said, for the delivery status notification.
	RemoteMTA  string // "dns; host" or empty
	RemoteCode string // diagnostic: "smtp; 550 5.1.1 ..." or empty
}

// A Message is a queued message as the scheduler sees it. It belongs to one
// goroutine at a time; the store keeps no reference to it.
type Message struct {
	ID string
	Envelope
	Outcomes []Outcome // one for each of Recipients
	Size     int64     // of the content, in bytes
	Queued   time.Time // when it came into the queue: the time in its ID
	Next     time.Time // not to be tried before; zero for a fresh message
	Warned   bool      // the sender was told of the delay
	Traced   bool      // the sender was told what Trace asks
	Expired  bool      // the administrator asked to return it to the sender

	e *entry
}

// Left returns how many recipients are still to be tried.
func (m *Message) Left() int {
	n := 0
	for i := range m.Outcomes {
		if m.Outcomes[i].State == Pending {
			n++
		}
	}
	return n
}

// An Info is what the store knows of a message without reading the disk.
type Info struct {
	ID      string
	Size    int64
	Arrival time.Time
	Next    time.Time // not to be tried before; zero for a fresh message
	Queue   Name
	Expired bool
}

// A Name is one of Postfix's queues. Here it is a state of the message.
type Name uint8

// The queues, in the order in which the queue listing shows them.
const (
	Active   Name = iota // being delivered
	Incoming             // fresh, not yet seen by the scheduler
	Waiting              // "deferred": to be tried again later
	Held                 // "hold": waits for the administrator
)

var names = [...]string{Active: "active", Incoming: "incoming", Waiting: "deferred", Held: "hold"}

// String returns Postfix's name of the queue.
func (n Name) String() string { return names[n] }
