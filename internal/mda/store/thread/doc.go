// Package thread finds out which messages answer which others, as IMAP's THREAD
// (RFC 5256) and the search key INTHREAD want it. It knows nothing of mailboxes:
// the caller gives it what is in the headers.
//
// The algorithms:
//
//	ORDEREDSUBJECT  messages with the same base subject; all others answer the first
//	REFERENCES      by References or In-Reply-To, then threads with the same base subject together
//	REFS            by References or In-Reply-To alone; threads by their newest message
//
// Where RFC 5256 leaves it open, threads are as Dovecot makes them: messages are linked in the
// order of their UIDs, and the first link counts.
package thread
