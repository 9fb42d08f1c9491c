package sasl

import "errors"

// Credentials are those of a client.
type Credentials struct {
	Username string // who logs in (authcid)
	Password string
	Authzid  string  // as whom; empty for oneself
	Hostname string  // the server's name, for mechanisms that sign it
	Service  string  // "smtp", "imap"
	Binding  Binding // of the TLS connection, for mechanisms with channel binding
}

// A Client is the client's side of one exchange.
type Client interface {
	// Start returns the initial response, or nil for a mechanism in which the
	// server speaks first. An empty response that must be sent is not nil.
	Start() ([]byte, error)

	// Next answers a challenge. An error means that the exchange must be
	// canceled.
	Next(challenge []byte) ([]byte, error)
}

// ErrChallenge is a client's error for a challenge that the mechanism does not
// have at this point.
var ErrChallenge = errors.New("sasl: unexpected challenge from the server")
