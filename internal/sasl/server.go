package sasl

import (
	"errors"
	"time"
)

// Session is what a server's mechanisms may know of the connection.
type Session struct {
	Hostname     string   // of this server, for challenges
	Realms       []string // DIGEST-MD5: realms offered
	CertUsername string   // EXTERNAL: name in a verified client certificate, or empty
	Username     string   // ANONYMOUS: the name that anonymous users get

	// What the challenge in a greeting of APOP must begin with.
	PID, Connection uint32
	Started         time.Time // no challenge can be older

	// Bindings are what the client's TLS connection can be known by, in the words of
	// RFC 5056; none without TLS. PlusOffered tells that a mechanism that makes
	// use of them was announced.
	Bindings    []Binding
	PlusOffered bool
}

// A Binding is the channel binding data of a TLS connection.
type Binding struct {
	Name string // "tls-exporter" (RFC 9266), "tls-unique" (RFC 5929)
	Data []byte
}

// An Action is what the caller of a [Server] has to do next.
type Action uint8

const (
	// Challenge: send Step.Data, then call Next with the client's answer.
	Challenge Action = iota + 1

	// Verify: the exchange is over; it succeeds if Step.Password is the
	// password of Step.Authcid.
	Verify

	// Fetch: look up the credentials of Step.Authcid in Step.Scheme, give them to
	// the server's [CredentialServer] method, and do what it says.
	Fetch

	// Accept: the exchange is over and has proven that the client is
	// Step.Authcid. Step.Data, if not nil, is sent with the success.
	Accept
)

// A Step is a server's answer to a message of the client.
type Step struct {
	Action   Action
	Data     []byte // Challenge and Accept
	Authcid  string // who logs in; with Challenge: if known already
	Authzid  string // as whom; empty for oneself
	Password string // Verify
	Scheme   string // Fetch: password scheme, as Dovecot names it
	HashUser string // Fetch: the name in the stored hash, if the scheme has one
	Alone    bool   // Fetch: no other exchange of this user may be under way
	Store    string // Accept: what has to be stored first, in the scheme of Fetch
	Trace    string // Accept, by ANONYMOUS: what the client calls itself, for the log
}

// A Server is the server's side of one exchange.
type Server interface {
	// Next takes the client's next message. It is nil only in the first call,
	// when the client sent no initial response. The server keeps no
	// reference to it. An error ends the exchange; its text is for the log, and the
	// Authcid of the step is the user, if known.
	Next(response []byte) (Step, error)
}

// A RefusalServer is a [Server] that tells its client why the password of its [Verify]
// step was refused. The client's answer to that means nothing.
type RefusalServer interface {
	Server

	// Refused returns what the client is told. configuration is the URL of a document
	// about where to get a better password, or empty.
	Refused(configuration string) []byte
}

// A CredentialServer is a [Server] that asks for stored credentials ([Fetch]).
type CredentialServer interface {
	Server

	// Credentials continues the exchange with the decoded credentials.
	Credentials(secret []byte) (Step, error)
}

// Errors of the server's side, for the log.
var (
	ErrInvalidInput = errors.New("invalid input")
	ErrUnexpected   = errors.New("Unexpected continuation") // Dovecot's text
	ErrQuiet        = errors.New("sasl: wrong proof")       // not logged, as in Dovecot
)

// An Alarm is an error of the server's side that an administrator has to see.
type Alarm string

func (a Alarm) Error() string { return string(a) }
