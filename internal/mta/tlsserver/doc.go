// Package tlsserver is the server side of TLS as Postfix's tls library has it: for
// smtpd(8), and for postscreen(8), whose STARTTLS Postfix gives to tlsproxy(8).
//
// A [Server] is made from files that main.cf names: chains with their keys, one for each
// kind of key, and more of them by the name that a client asks for
// (tls_server_sni_maps). It looks at the files again while it is used; when one has
// changed, handshakes that begin later have what it holds. A file that became unreadable
// or wrong changes nothing but the log.
//
// # Clients' certificates
//
// A certificate is asked for, never demanded by the handshake: what lacks or is not
// trusted is for the caller to judge. It is known by the fingerprints of its DER form and
// of its public key, and is trusted if a chain leads from it to an authority in the
// CAfile or the CApath. The common names of client and issuer are those that log lines and headers show.
//
// # Sessions
//
// Sessions are resumed by tickets, under keys that live in memory only and are replaced
// each session timeout; a ticket is good for as long as the key or its successor is in use.
//
// # Ciphers
//
// The cipher list of OpenSSL chooses, of the suites that crypto/tls uses by itself, those of versions up to TLS 1.2: as with OpenSSL,
// it says nothing of TLS 1.3. crypto/tls orders them, and the curves, by itself. A list that leaves none
// leaves TLS 1.3. What an administrator asks for and crypto/tls does not have is logged at start.
package tlsserver
