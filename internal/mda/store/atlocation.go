package store

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A LocationError is a location that cannot be used.
type LocationError struct{ Err error }

func (e *LocationError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *LocationError) Unwrap() error { return e.Err }

// OpenLocation opens mail that lies at a location, written as mail_location is, in
// one namespace without prefix, whatever namespaces the configuration has. It is
// for importing mail. Which user it is counts for variables only.
func OpenLocation(ctx context.Context, cfg *dovecot.Config, info UserInfo, location string, pool *mailbox.Pool, log *maillog.Logger) (*User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t, err := templateFor(cfg, dovecot.Filter{Service: info.Service, Local: info.Local, Remote: info.Remote})
	if err != nil {
		return nil, err
	}
	alone := &template{set: t.set, box: t.box}
	alone.set.Namespaces = nil
	u := &User{info: info, cfg: cfg, set: &alone.box, pool: pool, log: log}
	if err := u.makeNamespaces(alone, location); err != nil {
		return nil, &LocationError{err}
	}
	return u, nil
}
