// Package login is what IMAP and POP3 clients talk to before they are
// authenticated: greeting, STARTTLS, and the commands that log in. It is the
// only code that strangers reach, so it runs in a process of its own, chrooted
// and without privileges, that opens nothing after its start: it sees no
// mailbox and no password database.
//
// A [Server] serves one protocol. It relays SASL exchanges to the auth server
// and knows no mechanism itself. When auth has accepted a client, the client's
// socket goes to the mail process through a [Passer], with what the client has
// sent already; this process forgets the session. A TLS session stays: the
// mail process gets one end of a socket pair, and the bytes are relayed between
// the other end and the TLS session.
//
// Where the passdb's fields say so (proxy, host, ...) the session goes to another server
// instead: this process logs in there as the client of IMAP or POP3, tells it who the
// client is (ID, XCLIENT), and relays bytes from then on. A proxied session is two
// goroutines that hold buffers only while data flows (proxy.go and what begins so).
//
// Limits: line length, literal sizes, number of bad commands, time until
// login (three minutes), and the number of sessions before login, of which the oldest
// gives way to a new one as in Dovecot.
//
// Replies and log lines are Dovecot's; they stand together in texts.go and
// log.go.
package login
