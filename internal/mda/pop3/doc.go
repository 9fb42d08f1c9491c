// Package pop3 is the POP3 server after login (RFC 1939, RFC 2449): one session
// works on the INBOX of one user, as it was when the session began.
//
// It promises what RFC 1939 asks: message numbers never change, DELE takes
// effect at QUIT only, and QUIT answers +OK only when the expunge is durable. A
// session that ends in another way removes nothing. Messages that were read
// with RETR become \Seen at QUIT or when the connection ends
// (pop3_no_flag_updates turns that off).
//
// UIDLs are made of pop3_uidl_format, unless the storage keeps one for the
// message. An idle session holds the list of its messages, eight bytes each, and
// no buffers.
//
// Replies and log lines are Dovecot's; they stand together in texts.go.
package pop3
