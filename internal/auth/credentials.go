package auth

import (
	"crypto/rand"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
)

// credentials are what a mechanism compares the client's proof with.
type credentials struct {
	data string // in the scheme asked for; empty if there are none
	from *passdb
	user string // whose they are: not the user as whom a master user logs in
}

// give finds what a mechanism that asked for credentials can use. As in Dovecot those of
// the last passdb that has any count; earlier ones only if it has none. Those in a scheme
// that is not the mechanism's prove nothing, and hide earlier ones.
//
// A master user proves its own password: that of the user as whom it logs in, which Dovecot
// takes, would let that user pose as the master.
func (c *passChain) give(p *passdb) error {
	r := c.req
	switch {
	case r.MasterUser != "" && c.verified:
		return nil // this one only adds fields
	case r.MasterUser != "":
		return db.ErrMismatch // nobody proves two passwords at once
	}
	if c.secret.Stored == "" && (r.NoPassword || !c.secret.Empty) {
		if c.earlier.data != "" {
			return nil // this one only adds fields
		}
		r.Infof("Requested %s scheme, but we have a NULL password", c.fetch)
		return db.ErrNotSupported
	}
	scheme, data := password.Split(c.secret.Stored, c.secret.DefaultScheme)
	if err := password.Check(scheme, data); err != nil {
		r.Errorf("%v", err)
		return db.ErrNotSupported
	}
	switch {
	case strings.EqualFold(scheme, c.fetch):
		c.found = credentials{data, p, r.User}
		return nil
	case !password.IsPlain(scheme):
		r.Infof("Requested %s scheme, but we have only %s", c.fetch, scheme)
		c.unfit = true
		return db.ErrNotSupported
	case data == "":
		data = rand.Text() // nobody proves an empty password
	}
	user := c.hashUser
	if user == "" {
		user = r.User
	}
	c.logGenerated(user, data)
	made, err := password.Generate(c.fetch, data, password.Options{User: user})
	c.found = credentials{made, p, r.User}
	return err
}

// knownScheme is the check that remains in a lookup without password. As in Dovecot the
// passdbs after the first that had a password must have theirs in the same scheme, or one
// from which that can be made.
func (c *passChain) knownScheme() error {
	r := c.req
	if c.secret.Stored == "" && (r.NoPassword || !c.secret.Empty) {
		return nil
	}
	scheme, data := password.Split(c.secret.Stored, c.secret.DefaultScheme)
	if err := password.Check(scheme, data); err != nil {
		r.Errorf("%v", err)
		return db.ErrNotSupported
	}
	switch {
	case c.first == "":
		c.first, _, _ = strings.Cut(scheme, ".")
	case strings.EqualFold(scheme, c.first), password.IsPlain(scheme):
	default:
		r.Infof("Requested %s scheme, but we have only %s", c.first, scheme)
		return db.ErrNotSupported
	}
	return nil
}

// forget takes back what a passdb has said about a user whose credentials it refuses, if
// it is one of those that do.
func (c *passChain) forget(p *passdb, r result) {
	f, ok := p.driver.(db.Forgetful)
	if !ok || !f.ForgetsRefused() || c.recalled.used || r == resultOK || r == resultNext || r == resultUnknown {
		return
	}
	if c.purpose == purposeVerify && c.fetch == "" {
		return
	}
	c.req.User = c.recalled.user
	c.req.Rollback()
	c.recalled.heard = nil
}
