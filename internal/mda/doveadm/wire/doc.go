// Package wire is the protocol of service doveadm, by which doveadm has
// commands run by another process or on another host. Both sides are here; what
// commands do is package doveadm's.
//
// # Handshake
//
//	C: VERSION <tab> doveadm-server <tab> 1 <tab> 2
//	S: VERSION <tab> doveadm-client <tab> 1 <tab> 2     if the client's minor version is not 0
//	S: + or -                                           + if no password is wanted
//	C: STARTTLS                                         if wanted, after -; TLS begins at once
//	C: PLAIN <tab> base64(NUL "doveadm" NUL password)   after -
//	S: + or -                                           - ends the connection
//
// A listener with ssl = yes has TLS from the first byte. No password is wanted on
// a unix socket that only its owner can use (mode 0600).
//
// # Multiplexing
//
// After "+" what the server sends is cut into packets if it sent a version: a
// channel (1 byte), a length (4 bytes, big-endian), and so many bytes. Channel 0
// has answers, channel 'L' has lines of the log: a byte 1 to 6 (debug, info,
// warning, error, fatal, panic) and text. The client's side is never multiplexed.
//
// # Commands
//
//	C: <flags> <tab> <user> <tab> <command> [<tab> <argument>...]
//
// Fields are escaped as those of the auth protocols are (package auth/wire). Flags
// are D (debug) and v (verbose). A text that the command reads follows with dots
// doubled at the begin of lines, and ends with a line of one dot.
//
//	S: [<value> <tab>...] LF
//	S: + LF, or - <code> LF
//
// Values are those of all rows, without a mark between rows: the client knows the
// columns. An escaped value has no LF, so one at the place of a value ends
// them. Codes are names of exit statuses ([Code]).
package wire
