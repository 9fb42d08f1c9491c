// Package clients shows that real programs and unusual ways in work: mail clients that fetch and
// synchronize, load balancers before the server, certificates of clients. Each runs against this
// server and against Dovecot, and what it found is compared.
package clients
