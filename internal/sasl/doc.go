// Package sasl is the SASL mechanisms (RFC 4422), the server's and the client's
// side of each, without any protocol around them: what IMAP, SMTP or Dovecot's
// auth protocol wraps in base64 comes in and goes out here as plain bytes.
//
// A [Server] is passive. It is given the client's messages and answers with a
// [Step]: send a challenge, check a password, fetch stored credentials, or
// take an identity for proven. It never asks a database itself, so the caller
// may do that wherever and as slowly as it must.
//
// A [Client] answers a server's challenges with a user's credentials.
//
// Each mechanism is one file and one row of the table in mechanism.go.
package sasl
