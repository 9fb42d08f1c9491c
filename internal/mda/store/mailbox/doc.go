// Package mailbox is one mailbox: its messages, flags and keywords, shared by
// all sessions of a process and with other processes.
//
// A [Pool] holds the mailboxes that are open now, one state per mailbox however
// many sessions use it. A [Mailbox] is a session's handle. What it contains is
// read from a [Snapshot], which never changes; a writer publishes a new one.
// Readers take no lock.
//
// Files and locks are Dovecot's (packages index, dbox, mdbox and maildir), so Dovecot
// and its tools may work on the same mailbox at the same time. What is acknowledged
// is durable as mail_fsync says (package commit).
//
// What is in the index is the same for all formats and handled here; how messages
// are kept besides is a [Format]'s.
//
// Locks are taken from left to right: the map of an mdbox, the mailbox (box.mu), the
// format's own ([Locker]), the index's log.
package mailbox
