// Package mail is the mail process: it serves the IMAP and POP3 sessions, and
// the LMTP deliveries, of the users of one uid.
//
// It runs with that uid from its first instruction on, so that the kernel
// keeps one organisation's or user's mail from another's. Clients' sockets
// arrive from the master, already authenticated. The open mailboxes of all
// its sessions are shared in one pool: what one session or delivery changes
// the others see at once.
//
// An IMAP session that hibernates is an entry of a few maps (hibernate.go): its client is waited for
// by package hibernate, its mailbox watched by the pool, and the user opened again when it goes on.
//
// A process that has served its last session tells the master, which lets it
// go unless more work is on its way. The process with the LMTP listeners stays.
package mail
