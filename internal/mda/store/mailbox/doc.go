// Package mailbox is one mailbox: its messages, flags and keywords, shared by
// all sessions of a process and with other processes.
//
// A [Pool] holds the mailboxes that are open now, one state per mailbox however
// many sessions use it. A [Mailbox] is a session's handle. What it contains is
// read from a [Snapshot], which never changes; a writer publishes a new one.
// Readers take no lock.
//
// Files and locks are Dovecot's (packages index, dbox, mdbox, maildir and mbox), so Dovecot
// and its tools may work on the same mailbox at the same time. What is acknowledged
// is durable as mail_fsync says (package commit).
//
// What clients ask for of messages again and again is kept in dovecot.index.cache (package
// cache): it is looked up there first, added after a miss, and computed while a message
// is saved if the mailbox's history says that it will be asked for.
//
// What is in the index is the same for all formats and handled here; how messages
// are kept besides is a [Format]'s.
//
// Locks are taken from left to right: the map of an mdbox, the mailbox (box.mu), the
// format's own ([Locker]), the index's log.
package mailbox
