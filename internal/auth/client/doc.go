// Package client asks an auth server, Dovetail's or Dovecot's, over Dovecot's
// auth protocols.
//
// A [Client] relays SASL exchanges of SMTP, IMAP and POP3 clients
// (auth-client, login/login). A [MasterClient] looks up users (auth-userdb,
// auth-master) and confirms logins (auth-master). Both keep one connection,
// share it among all callers, and connect again when it was lost.
//
// An answer of the server is either a result or a value: [*Failure] for
// credentials that were refused, [ErrUnknownUser] for users that do not exist.
// Every other error is a temporary failure of the server or the way to it.
package client
