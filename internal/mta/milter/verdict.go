package milter

import "github.com/dovetail-mail/dovetail/internal/smtp"

// An Action is what filters decide.
type Action uint8

// The actions.
const (
	Continue Action = iota
	Reject          // with Verdict.Reply
	Hold            // the message goes to the hold queue; it is looked at further
	Discard         // the message is taken, and thrown away
	Shutdown        // Verdict.Reply, and the connection ends
)

// A Verdict is what filters decide, the first of them that decides anything.
type Verdict struct {
	Action Action
	Reply  smtp.Reply // of Reject and Shutdown
}

func refuse(r smtp.Reply) Verdict { return Verdict{Action: Reject, Reply: r} }

// Refuses tells whether the client is told of it.
func (v Verdict) Refuses() bool { return v.Action == Reject || v.Action == Shutdown }
