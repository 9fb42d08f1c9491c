package db

import (
	"context"
	"errors"
)

// What a database can answer beside success.
var (
	ErrUnknownUser = errors.New("unknown user")
	ErrMismatch    = errors.New("Password mismatch")
	ErrDisabled    = errors.New("user is disabled")
	ErrExpired     = errors.New("password has expired")

	// ErrNotSupported: the database cannot do that kind of lookup.
	ErrNotSupported = errors.New("passdb doesn't support credentials lookups")
)

// Told marks an answer whose reason the driver has logged itself.
func Told(err error) error { return toldError{err} }

type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

// IsTold reports whether there is nothing left to log about err.
func IsTold(err error) bool {
	var told toldError
	return errors.As(err, &told)
}

// A Passdb is a database of passwords. It is also a [Fetcher], a [Verifier],
// or both.
type Passdb interface {
	Blocking() bool
}

// A Fetcher is a Passdb that hands out what it has stored.
type Fetcher interface {
	Passdb
	// The default scheme is told of unknown users, too.
	Fetch(ctx context.Context, req *Request) (Secret, error)
}

// A Verifier is a Passdb that checks passwords itself, as PAM and LDAP servers
// do. If it is a Fetcher too, that is for lookups without password.
type Verifier interface {
	Passdb
	Verify(ctx context.Context, req *Request, password string) error
}

// A Forgetful Passdb is one that Dovecot asks in another process, which says nothing
// about a user whose credentials it refuses to give: what was said is forgotten.
type Forgetful interface {
	Passdb
	ForgetsRefused() bool
}

// A Secret is a stored password.
type Secret struct {
	Stored        string // with or without {SCHEME}
	Empty         bool   // Stored is empty, and that is the password
	DefaultScheme string
}

// A Userdb is a database of users.
type Userdb interface {
	Blocking() bool
	LookupUser(ctx context.Context, req *Request) error
}

// A Lister is a Userdb that can list its users. fn returns false when nobody
// wants more.
type Lister interface {
	Userdb
	List(ctx context.Context, fn func(username string) bool) error
}

// A PassdbLookup is a Userdb that has to know whether the passdbs have the
// user, as static does.
type PassdbLookup interface {
	Userdb
	NeedsPassdb() bool
}
