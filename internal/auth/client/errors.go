package client

import "errors"

// Errors that callers act upon.
var (
	// ErrUnknownUser is returned by lookups of a user who does not exist.
	ErrUnknownUser = errors.New("auth: unknown user")

	// ErrAborted is returned by [Client.Authenticate] when the challenge
	// function gave up and returned it, as for a client that sent "*".
	ErrAborted = errors.New("auth: exchange aborted by the client")

	// ErrMechanism is returned for a mechanism that the server does not offer.
	ErrMechanism = errors.New("auth: mechanism not offered by the server")

	// ErrClosed is returned after Close.
	ErrClosed = errors.New("auth: client is closed")
)

// Codes of a [Failure].
const (
	CodeTempFail      = "temp_fail"
	CodeAuthzFail     = "authz_fail"
	CodeUserDisabled  = "user_disabled"
	CodePassExpired   = "pass_expired"
	CodeInvalidBase64 = "invalid_base64"
)

// A Failure is the server's answer that a login is refused.
type Failure struct {
	User   string // as far as the server knows it
	Code   string // one of the codes, or empty: wrong password or unknown user
	Reason string // text that may be shown to the client, or empty
	Temp   bool   // the credentials may well be right: an internal failure
	Fields Fields
}

func (f *Failure) Error() string {
	text := "auth: login refused"
	if f.Temp {
		text = "auth: temporary failure of the server"
	}
	if f.Code != "" && !f.Temp {
		text += " (" + f.Code + ")"
	}
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}

// newFailure reads the fields of a FAIL reply.
func newFailure(text string) *Failure {
	f := &Failure{Fields: parseFields(text)}
	for _, field := range f.Fields {
		switch field.Name {
		case "user":
			f.User = field.Value
		case "code":
			f.Code = field.Value
		case "reason":
			f.Reason = field.Value
		case "temp": // written by Dovecot before 2.3
			f.Code = CodeTempFail
		}
	}
	f.Temp = f.Code == CodeTempFail
	return f
}
