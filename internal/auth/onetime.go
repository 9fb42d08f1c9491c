package auth

import (
	"context"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
)

// onetime are the users of one-time passwords who are being asked for one. Only one
// exchange of each may be under way: somebody who listens while a password is typed
// could guess the rest of it in many sessions and be the first (RFC 2289 9).
type onetime struct {
	mu    sync.Mutex
	users map[string]*request // by name in lower case
}

// enter takes the place of the request's user. It is free if the exchange that had it
// is over, in whatever way.
func (o *onetime) enter(r *request) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := r.onetimeUser()
	if other := o.users[name]; other != nil && other != r && other.conn.isPending(other) {
		return false
	}
	if o.users == nil {
		o.users = make(map[string]*request)
	}
	o.users[name] = r
	return true
}

// leave frees the place that the request has.
func (o *onetime) leave(r *request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if name := r.onetimeUser(); o.users[name] == r {
		delete(o.users, name)
	}
}

// onetimeUser is the name under which the request has its place: that of whose password is
// used up.
func (r *request) onetimeUser() string {
	name := r.chain.found.user
	if name == "" {
		name = r.User
	}
	return strings.ToLower(name)
}

// isPending reports whether an exchange is under way.
func (c *clientConn) isPending(req *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[req.id] == req && req.state != stateDone
}

// store has the passdb that gave the credentials replace them, then lets the user in. They
// are a master user's, if one logs in.
func (r *request) store(stored string) {
	defer r.conn.shared.onetime.leave(r)
	p := r.chain.found.from
	setter, ok := p.driver.(db.Setter)
	if !ok {
		r.Errorf("passdb doesn't support credentials updates")
		r.fail(resultInternal)
		return
	}
	r.chain.enter(p)
	user := r.User
	r.User = r.chain.found.user
	ctx, cancel := context.WithTimeout(r.conn.ctx, lookupTimeout)
	defer cancel()
	err := p.gate.through(ctx, &r.Request, func() error {
		return setter.SetCredentials(ctx, &r.Request, "{"+r.chain.fetch+"}"+stored)
	})
	r.conn.server().flushCache(r.User)
	r.User = user
	if err != nil {
		r.Errorf("%v", err)
		r.fail(resultInternal)
		return
	}
	r.succeed()
}
