package main

import (
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A benchmark measures the values of one or more rows of the table.
type benchmark struct {
	rows []row
	// run measures a program once, in an environment of its own: a value per row.
	run func(e *env, p harness.Program) []float64
	// alone benchmarks have no counterpart in the original.
	alone bool
}

// A row is one row of the table.
type row struct {
	name, unit string
	goal       goal
}

var benchmarks = []*benchmark{
	{rows: []row{{"SMTP accept, a connection each", "messages/s", times(5)}}, run: acceptance(connections)},
	{rows: []row{{"SMTP accept, connections kept", "messages/s", times(9)}}, run: acceptance(connections, "-d")},
	{rows: []row{{"SMTP accept, a connection each, 100 clients", "messages/s", times(5)}}, run: acceptance(processLimit)},
	{rows: []row{{"SMTP accept, connections kept, 100 clients", "messages/s", times(9)}}, run: acceptance(processLimit, "-d")},
	{rows: []row{{"SMTP accept with checks and a milter, a connection each", "messages/s", times(4)}}, run: inspected()},
	{rows: []row{{"SMTP accept with checks and a milter, connections kept", "messages/s", times(7)}}, run: inspected("-d")},
	{rows: []row{{"SMTP accept, a TLS handshake each", "messages/s", times(3)}}, run: handshakes},
	{rows: []row{{"SMTP relay", "messages/s", times(7)}}, run: relay(nil)},
	{rows: []row{{"SMTP relay with aliases, transport and canonical tables", "messages/s", times(6)}}, run: relay(routing)},
	{rows: []row{{"SMTP to mailbox (sdbox)", "messages/s", times(4)}}, run: smtpToMailbox("sdbox")},
	{rows: []row{{"SMTP to mailbox (mdbox)", "messages/s", times(8)}}, run: smtpToMailbox("mdbox")},
	{rows: []row{{"LMTP to mailbox (sdbox)", "messages/s", times(2.5)}}, run: lmtpToMailbox("sdbox")},
	{rows: []row{{"LMTP to mailbox (mdbox)", "messages/s", times(8)}}, run: lmtpToMailbox("mdbox")},
	{rows: []row{{"IMAP APPEND (sdbox)", "messages/s", times(2.5)}}, run: appends("")},
	{rows: []row{{"IMAP APPEND (mdbox)", "messages/s", times(6)}}, run: appends("mdbox:~/mail")},
	{rows: []row{
		{"Open 200,000 messages, fetch all flags", "times/s", times(3)},
		{"Memory of the session that does so", "MB", atMost(8)},
	}, run: largeMailbox},
	{rows: []row{{"IMAP logins", "logins/s", times(4)}}, run: logins},
	{rows: []row{{"IMAP logins, imap processes used again", "logins/s", goal{}}}, run: loginsReused},
	{rows: []row{{"IMAP logins through LDAP, 50 clients", "logins/s", times(3)}}, run: ldapLogins},
	{rows: []row{{"IMAP logins through MariaDB, 50 clients", "logins/s", times(3)}}, run: sqlLogins},
	{rows: []row{{"FETCH FLAGS", "messages/s", times(4)}}, run: reading("FETCH 1:* FLAGS")},
	{rows: []row{{"FETCH ENVELOPE and BODYSTRUCTURE", "messages/s", times(10)}}, run: reading("FETCH 1:* (ENVELOPE BODYSTRUCTURE)")},
	{rows: []row{{"FETCH ENVELOPE and BODYSTRUCTURE, the first time", "messages/s", times(10)}}, run: firstReading("FETCH 1:* (ENVELOPE BODYSTRUCTURE)")},
	{rows: []row{{"FETCH whole messages", "messages/s", times(3)}}, run: reading("FETCH 1:* BODY.PEEK[]")},
	{rows: []row{{"STORE flags", "messages/s", times(4)}}, run: reading("STORE 1:* +FLAGS.SILENT (\\Flagged)", "STORE 1:* -FLAGS.SILENT (\\Flagged)")},
	{rows: []row{{"SEARCH TEXT without index", "messages/s", times(5)}}, run: reading("SEARCH TEXT nowhere")},
	{rows: []row{{"POP3 RETR", "messages/s", times(3)}}, run: retrieving},
	{rows: []row{{"IMAP idle session", "KB", atMost(30)}}, run: idleMemory},
	{rows: []row{
		{"Start with 100,000 deferred messages", "s", atMost(5)},
		{"Memory with 100,000 deferred messages", "MB", atMost(200)},
		{"postqueue -p of 100,000 deferred messages", "s", atMost(1)},
	}, run: fullStart, alone: true},
	{rows: []row{{"Look-ups in hash:", "keys/s", times(1)}}, run: lookUps("hash")},
	{rows: []row{{"Look-ups in btree:", "keys/s", times(1)}}, run: lookUps("btree")},
	{rows: []row{{"Mail to 50,000 destinations, one of which hangs", "deliveries/s", times(4)}}, run: manyDestinations},
	{rows: []row{{"Mail to 100,000 recipients of an alias", "deliveries/s", times(8)}}, run: largeAlias},
}

const (
	connections  = 20  // at once, in all rates that do not say otherwise
	processLimit = 100 // what Postfix serves at once by default, when it is busy
	users        = 200 // whose mailboxes take turns
	messageSize  = 10 << 10
)

// dboxes starts a mailbox service of the usual users with mailboxes of a format.
func (e *env) dboxes(p harness.Program, format string) *harness.Mailbox {
	return harness.StartMailbox(e, p, harness.MailboxOptions{Users: users, SocketUser: "postfix", Location: format + ":~/mail"})
}

// mailboxes starts a mailbox service of n users.
func (e *env) mailboxes(p harness.Program, n int, config string) *harness.Mailbox {
	return harness.StartMailbox(e, p, harness.MailboxOptions{Users: n, SocketUser: "postfix", Extra: config})
}

// warmUp is how long a service runs before it is measured.
const warmUp = time.Second
