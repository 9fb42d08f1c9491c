// Package handoff is what a login process tells the master, and the master a
// mail process, about one authenticated connection.
//
// One message is one datagram on a SOCK_SEQPACKET socket: a JSON object with
// the client's socket attached as SCM_RIGHTS. The answer is a datagram with a
// [Reply]. JSON keeps it readable in strace; it is written once per login.
package handoff

import "net/netip"

// Login describes an authenticated client, from the login process on.
type Login struct {
	ID         uint64         `json:"id"`      // of this request, chosen by the sender, repeated in the reply
	Service    string         `json:"service"` // "imap" or "pop3"
	AuthID     uint32         `json:"auth_id"` // the request's id at the auth server
	AuthPID    uint32         `json:"auth_pid"`
	AuthCookie string         `json:"auth_cookie"` // authenticates the login process to auth, hexadecimal
	Session    string         `json:"session"`     // session identifier, as in log lines
	Local      netip.AddrPort `json:"local"`
	Remote     netip.AddrPort `json:"remote"`
	Secured    bool           `json:"secured,omitempty"` // TLS, or as good as it
	TLS        bool           `json:"tls,omitempty"`     // TLS ends in the login process
	LocalName  string         `json:"local_name,omitempty"`
	// UntaggedCapability: the client asked for CAPABILITY before, so it looks
	// for an untagged answer rather than the response code.
	UntaggedCapability bool     `json:"untagged_capability,omitempty"`
	Tag                string   `json:"tag,omitempty"`       // IMAP: tag of the command that logged in
	Input              []byte   `json:"input,omitempty"`     // what the client has sent after it
	ClientID           []string `json:"client_id,omitempty"` // IMAP ID parameters given before login: name, value, ...
}

// Reply is the answer to a [Login]. An empty Error means that the mail process
// has the connection.
type Reply struct {
	ID    uint64 `json:"id"`
	Error string `json:"error,omitempty"` // text for the client, such as Dovecot's "Internal error occurred"
	Limit bool   `json:"limit,omitempty"` // Error is that of a limit on the user's connections
	PID   int    `json:"pid,omitempty"`   // of the mail process, for the log
}
