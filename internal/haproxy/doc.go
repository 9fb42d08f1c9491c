// Package haproxy reads the header that a proxy sends before a connection it
// passes on: the PROXY protocol, versions 1 and 2, as Postfix and Dovecot speak
// it. [Read] takes the header from a connection, and not a byte behind it;
// [Parse] reads one in memory.
//
// Whoever may send a header says what address, and so what rights, a client has.
// The caller asks only those it trusts.
//
// Version 1 is a line of at most 107 bytes:
//
//	PROXY TCP4|TCP6 client-address server-address client-port server-port CRLF
//	PROXY UNKNOWN ... CRLF
//
// Version 2 is binary: 12 bytes of signature, a byte with version (2) and command
// (0 LOCAL, 1 PROXY), a byte with family (0 none, 1 IPv4, 2 IPv6, 3 unix) and
// transport (1 stream), two bytes with the length of the rest; then addresses and
// ports, client before server, in network order; then fields of type, length and
// value, of which the one about TLS is understood here.
package haproxy
