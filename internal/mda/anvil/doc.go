// Package anvil is the protocol of the socket anvil, on which doveadm asks who is logged
// in and who has to wait: both sides of it, without the tables themselves.
//
// Lines end with LF, their fields are separated by TABs and escaped as in package wire.
// Here → is a TAB, S the server.
//
//	C: VERSION→anvil→1→0
//	C: CONNECT-DUMP
//	S: SERVICE/IP/USER→PID→COUNT            for each user, address and process
//	S:                                      an empty line
//	C: PENALTY-DUMP
//	S: IP→PENALTY→LAST-PENALTY→LAST-UPDATE  times in seconds since 1970
//	S:                                      an empty line
//	C: KICK→SERVICE/IP/USER→PID
//	S: COUNT                                of the sessions told to end
//
// All but KICK are Dovecot's: its doveadm works with our server, and ours with its. There a
// session is ended by a signal to its process; here a process has many sessions.
package anvil
