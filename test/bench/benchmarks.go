package main

import (
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A benchmark is one row of the table.
type benchmark struct {
	name string
	unit string
	goal goal
	// run measures a program once, in an environment of its own.
	run func(e *env, p harness.Program) float64
	// alone benchmarks have no counterpart in the original.
	alone bool
}

var benchmarks = []*benchmark{
	{name: "SMTP accept, a connection each", unit: "messages/s", goal: times(5), run: accept},
	{name: "SMTP accept, connections kept", unit: "messages/s", goal: times(9), run: acceptKept},
	{name: "SMTP relay", unit: "messages/s", goal: times(7), run: relay},
	{name: "SMTP to mailbox (sdbox)", unit: "messages/s", goal: times(4), run: smtpToMailbox},
	{name: "LMTP to mailbox (sdbox)", unit: "messages/s", goal: times(2.5), run: lmtpToMailbox},
	{name: "IMAP logins", unit: "logins/s", goal: times(4), run: logins},
	{name: "IMAP idle session", unit: "KB", goal: atMost(30), run: idleMemory},
	{name: "Start with 100,000 deferred messages", unit: "s", goal: atMost(5), run: queueStart, alone: true},
	{name: "Memory with 100,000 deferred messages", unit: "MB", goal: atMost(200), run: queueMemory, alone: true},
}

const (
	connections = 20  // at once, in all rates
	users       = 200 // whose mailboxes take turns
	messageSize = 10 << 10
)

// mailboxes starts a mailbox service.
func (e *env) mailboxes(p harness.Program, n int) *harness.Mailbox {
	return harness.StartMailbox(e, p, harness.MailboxOptions{Users: n, SocketUser: "postfix"})
}

// warmUp is how long a service runs before it is measured.
const warmUp = time.Second
