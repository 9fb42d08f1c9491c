// Package tlsconf turns the TLS settings of Postfix and Dovecot (certificates,
// protocol ranges, cipher lists) into [crypto/tls] configurations, and
// describes established sessions in the words of OpenSSL, which is what
// Received headers and log lines show.
package tlsconf
