// Package imap serves IMAP4rev1 (RFC 3501) to clients that have logged in, with
// the extensions that [Capability] names, in Dovecot 2.3's words.
//
// [Server.Serve] runs one session until it ends. What a session may say and do
// is the command table in command.go: name, states, the sync that follows, and a
// handler in a file named after the command. A handler reads its arguments,
// checks the state, acts and answers. A failure is a value that carries the
// reply, and one place writes it.
//
// # View
//
// The mailbox package publishes immutable snapshots. A session keeps the one its
// sequence numbers refer to (view) and, while expunges must not be told, a newer
// one whose flags the client knows (told). What the client is told, EXISTS,
// RECENT, EXPUNGE, FETCH FLAGS, is the difference between them and the newest
// (sync.go). After FETCH, STORE and SEARCH expunges are held back (RFC 3501
// 7.4.1).
//
// # Cost of waiting
//
// A waiting session holds no buffers: it waits for the socket to become
// readable and takes buffers from a pool then. It is one goroutine with a small
// stack: commands run on goroutines of the server (workers.go), whose grown
// stacks serve all sessions. IDLE needs no goroutine either: the mailbox's
// notification ends the wait by moving the read deadline.
//
// With imap_hibernate_timeout a session that has been in IDLE for so long is reduced
// to an [Asleep] (hibernate.go): no goroutine, no open mailbox or user, but what is
// needed to tell later what has changed (hibernatebox.go), some hundred bytes for a mailbox
// whose uids have few gaps. Package mail waits for its client.
//
// # Failures
//
// A panic ends its session, is logged with its stack, and nothing else. What a
// client may make the server hold is bounded: the command line
// (imap_max_line_length), the number and depth of its arguments, the output
// waiting for it; literals of APPEND are streamed. A client that sends nothing
// for half an hour or takes nothing for five minutes is disconnected, as is one
// that sends 20 invalid commands in a row.
package imap
