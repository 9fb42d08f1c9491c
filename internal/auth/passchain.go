package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
)

// A result is the answer of passdbs or userdbs.
type result uint8

const (
	resultOK          result = iota
	resultUnknown            // no such user
	resultMismatch           // wrong password
	resultDisabled           // the user may not log in
	resultExpired            // the password is too old
	resultUnsupported        // the passdb has no such password to give
	resultNext               // the passdb only added fields
	resultInternal           // temporary failure
)

// A purpose is what the passdbs are asked for.
type purpose uint8

const (
	purposeVerify purpose = iota // check the password
	purposeLookup                // find the user and its fields
)

// lookupTimeout is how long one database may take, with the time that the request waits
// for its turn there: what Dovecot waits for a directory's answer, and less than clients do.
const lookupTimeout = 60 * time.Second

// A passChain asks the passdbs in turn. Where others wait for it, it is left, with what
// it knows so far, as soon as it would have to wait for a database, or to compute an
// expensive hash.
type passChain struct {
	server  *Server
	req     *db.Request
	purpose purpose
	dbs     []*passdb
	i       int // the one asked

	fetched  bool // its driver has answered with secret
	unknown  bool // its driver does not know the user, and the decoy is not compared yet
	secret   db.Secret
	success  bool        // one said yes
	verified bool        // the password was right; no more checks
	internal bool        // one failed temporarily
	missed   bool        // one does not know the user
	fetch    string      // scheme of the password asked for, or empty
	found    credentials // that password, of the one asked, if it has one
	unfit    bool        // the one asked has credentials that prove nothing
	earlier  credentials // the same of the first that had one and let others add to it
	first    string      // scheme of the first password that a lookup has found
	hashUser string      // the name in it; empty for the user

	recalled recollection // of the one asked
}

// newPassChain starts with the master passdbs for a master user's login.
func (s *Server) newPassChain(req *db.Request, p purpose) passChain {
	c := passChain{server: s, req: req, purpose: p, dbs: s.passdbs}
	if req.LoginUser != "" {
		c.dbs = s.masterdbs
	}
	req.Begin()
	c.skip()
	return c
}

// skip goes on to the next passdb that wants the request.
func (c *passChain) skip() {
	for ; c.i < len(c.dbs); c.i++ {
		p := c.dbs[c.i]
		if why := p.filters(c.req); why != "" {
			c.logFiltered(why)
		} else if !p.skips(c.verified) {
			return
		}
	}
}

// run asks until there is an answer. It is not done if there is more to do than is quick,
// unless it may wait.
func (c *passChain) run(ctx context.Context, mayWait bool) (r result, done bool) {
	if c.i == len(c.dbs) {
		return c.noneLeft(), true
	}
	for {
		p := c.dbs[c.i]
		r, ok := c.ask(ctx, p, mayWait)
		if !ok {
			return 0, false
		}
		if r, done := c.conclude(p, r); done {
			if c.found.data == "" && !c.unfit {
				c.found = c.earlier
			}
			c.logCredentials()
			return r, true
		}
	}
}

// noneLeft is the answer when no passdb wanted the request at all.
func (c *passChain) noneLeft() result {
	r := c.req
	switch {
	case r.LoginUser != "" && len(c.server.masterdbs) == 0:
		c.server.log.Infof("%sAttempted master login with no master passdbs (trying to log in as user: %s)", r.Prefix("auth"), r.LoginUser)
		return resultMismatch
	}
	name := strings.ToLower(r.Mechanism)
	if name == "" {
		name = "none"
	}
	c.server.log.Errorf("%sAll password databases were skipped", r.Prefix(name))
	return resultInternal
}

// ask asks one passdb. It is not ok if that has to wait and may not. As in Dovecot the
// override_fields come when all is decided, whatever was: if they change the name of the
// user, the next one is asked about that.
func (c *passChain) ask(ctx context.Context, p *passdb, mayWait bool) (r result, ok bool) {
	r, ok = c.answer(ctx, p, mayWait)
	if !ok {
		return 0, false
	}
	if err := p.overrideFields.SetFields(c.req); err != nil {
		return c.judge(p, err), true
	}
	return r, true
}

// answer is what the passdb says, from the cache or itself.
func (c *passChain) answer(ctx context.Context, p *passdb, mayWait bool) (r result, ok bool) {
	c.enter(p)
	if !c.recalled.asked {
		c.req.Debugf("Performing passdb lookup")
	}
	if c.unknown {
		return c.tell(ctx, p, resultUnknown, mayWait)
	}
	if r, done := c.recall(p); done {
		return c.tell(ctx, p, r, mayWait)
	}
	if !c.fetched {
		if p.driver.Blocking() && !mayWait {
			return 0, false
		}
		done, err := c.enquire(ctx, p)
		if done || err != nil {
			return c.tell(ctx, p, c.settle(p, err), mayWait)
		}
		c.fetched = true
	}
	if c.checksHash(p) {
		if !mayWait && c.isExpensive() {
			return 0, false
		}
		p.decoy.learn(c.secret)
	}
	err := c.compare(ctx, p)
	if c.outdated(err) {
		c.disregard()
		return c.answer(ctx, p, mayWait)
	}
	return c.settle(p, err), true
}

// enquire has the driver answer, in its turn if there is something to wait for.
func (c *passChain) enquire(ctx context.Context, p *passdb) (done bool, err error) {
	if !p.driver.Blocking() {
		return c.query(ctx, p)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	err = p.gate.through(ctx, c.req, func() error {
		var err error
		done, err = c.query(ctx, p)
		return err
	})
	return done, late(ctx, err)
}

// late says of an error that it is about time, if it is.
func late(ctx context.Context, err error) error {
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("no answer within %v: %w", lookupTimeout, err)
}

// isExpensive reports whether checking the password is not to be done where others wait.
func (c *passChain) isExpensive() bool {
	if c.recalled.used && c.server.set.CacheVerifyWithWorker {
		return true
	}
	scheme, data := password.Split(c.secret.Stored, c.secret.DefaultScheme)
	return password.Expensive(scheme, data)
}

// enter prepares the request for what p will say about it.
func (c *passChain) enter(p *passdb) {
	c.req.Section, c.req.Number, c.req.Verbose = p.name, p.number, p.verbose
}

// query has the driver answer. It is done if that decides.
func (c *passChain) query(ctx context.Context, p *passdb) (done bool, err error) {
	c.req.Enter()
	c.recalled.user = c.req.User
	c.req.Fields.Remove("password") // of an earlier passdb
	c.req.Scheme = c.fetch
	c.req.Listen()
	defer c.hear()
	if err := p.defaultFields.SetFields(c.req); err != nil {
		return true, err
	}
	if v, ok := p.driver.(db.Verifier); ok && c.purpose == purposeVerify && c.fetch == "" && !c.verified && !p.deny {
		if err := v.Verify(ctx, c.req, c.req.Password); err != nil {
			return true, err
		}
		c.hear()
		return true, nil
	}
	f, ok := p.driver.(db.Fetcher)
	if !ok {
		return true, db.ErrNotSupported
	}
	if c.secret, err = f.Fetch(ctx, c.req); err != nil {
		p.decoy.hint(c.secret.DefaultScheme)
		return true, err
	}
	if stored, ok := c.req.Fields.Get("password"); ok && c.secret.Stored == "" {
		c.secret.Stored = stored
	}
	c.hear()
	return false, nil
}

// hear keeps what the driver said.
func (c *passChain) hear() {
	if fields := c.req.Heard(); fields != nil {
		c.recalled.heard = fields
	}
}

// checksHash reports whether compare will check the password.
func (c *passChain) checksHash(p *passdb) bool {
	return c.purpose == purposeVerify && c.fetch == "" && !c.verified && !p.deny && !c.anyPassword()
}

// anyPassword reports whether the passdb takes any password. It must then have
// none, lest a forgotten nopassword opens an account that has one.
func (c *passChain) anyPassword() bool {
	return c.req.NoAuthenticate || (c.req.NoPassword && !c.hasPassword())
}

// hasPassword reports whether the passdb has a password that is not empty.
func (c *passChain) hasPassword() bool {
	_, data := password.Split(c.secret.Stored, c.secret.DefaultScheme)
	return data != ""
}

// compare decides from what was fetched.
func (c *passChain) compare(ctx context.Context, p *passdb) error {
	r := c.req
	if (r.NoAuthenticate || r.NoPassword) && c.checksPassword(p) {
		r.Debugf("Allowing any password")
	}
	if r.NoAuthenticate {
		return nil
	}
	if r.NoPassword && c.hasPassword() {
		r.Errorf("nopassword set but password is non-empty")
		r.Fields.Remove("nopassword")
	}
	switch {
	case c.fetch != "":
		return c.give(p)
	case c.purpose == purposeLookup:
		return c.knownScheme()
	case !c.checksHash(p):
		return nil
	}
	if c.secret.Stored == "" {
		return db.ErrMismatch
	}
	scheme, data := password.Split(c.secret.Stored, c.secret.DefaultScheme)
	err := c.verify(ctx, scheme, data)
	var unknown password.UnknownSchemeError
	var invalid *password.InvalidError
	var undecodable *password.DecodeError
	switch {
	case errors.Is(err, password.ErrMismatch):
		return db.ErrMismatch
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &undecodable):
		// As in Dovecot, an error for the administrator, but a plain refusal:
		// trying again later will not help.
		r.Errorf("%v", err)
		return db.Told(db.ErrMismatch)
	}
	return err
}

// verify compares the password tried with a stored one, in its turn if that takes long.
func (c *passChain) verify(ctx context.Context, scheme, data string) error {
	s := c.server
	check := func() error { return s.verify(scheme, data, c.req.Password, c.req.OriginalUser) }
	if !password.Expensive(scheme, data) {
		return check()
	}
	return s.hashers.through(ctx, c.req, check)
}

// judge turns an answer into a result, and logs what is wrong.
func (c *passChain) judge(p *passdb, err error) result {
	r := c.req
	switch {
	case err == nil && r.NoAuthenticate:
		return resultNext
	case err == nil:
		return resultOK
	case errors.Is(err, db.ErrUnknownUser):
		if !db.IsTold(err) {
			r.Infof("unknown user%s", c.triedPassword())
		}
		return resultUnknown
	case errors.Is(err, db.ErrMismatch):
		if !db.IsTold(err) {
			r.Infof("Password mismatch%s", c.triedPassword())
			c.logMismatch()
		}
		return resultMismatch
	case errors.Is(err, db.ErrDisabled):
		return resultDisabled
	case errors.Is(err, db.ErrExpired):
		return resultExpired
	case errors.Is(err, db.ErrNotSupported):
		return resultUnsupported
	}
	if !db.IsTold(err) {
		r.Errorf("%v", err)
	}
	return resultInternal
}

// conclude applies the rules to a passdb's result: either the answer, or on to
// the next one.
func (c *passChain) conclude(p *passdb, r result) (result, bool) {
	req := c.req
	req.Debugf("Finished passdb lookup")
	if p.deny && r != resultUnknown {
		if r == resultInternal {
			return r, true
		}
		c.server.log.Infof("User found from deny passdb")
		return resultDisabled, true
	}
	if req.Failed {
		// A field refused the login, not the password: as if not found.
		if r == resultOK {
			r = resultUnknown
		}
		req.Failed = false
	}
	if r != resultOK && c.found.data != "" {
		c.found, c.unfit = credentials{}, true // credentials are worth what their passdb says
	}
	next, final := p.onFailure, false
	switch r {
	case resultDisabled:
		final = true
	case resultExpired:
		req.Fields.Set(db.Field{Name: "reason", Value: "Password expired"})
		final = true
	case resultOK:
		next = p.onSuccess
	case resultInternal:
		next = p.onTemp
		c.internal = true
	case resultUnknown:
		c.missed = true
	case resultNext:
		c.server.debugf("Not performing authentication (noauthenticate set)")
		next = rules["continue"]
	}
	if final {
		return r, true
	}
	c.remember(next, r)
	return c.advance(next.goOn, r)
}

// remember keeps what the rule says about a result.
func (c *passChain) remember(next rule, r result) {
	switch next.outcome {
	case outcomeOK:
		c.success = true
	case outcomeFail:
		c.success = false
	}
	if next.goOn && (next.outcome == outcomeOK || next.outcome == outcomeKeep && r == resultOK) {
		c.verified = true
	}
	c.req.Fields.Remove("nopassword")
	c.req.Fields.Remove("noauthenticate")
	c.fetched, c.secret, c.recalled = false, db.Secret{}, recollection{}
	c.req.NoPassword, c.req.NoAuthenticate = false, false
	if r == resultOK || r == resultNext {
		c.req.Save()
	} else {
		c.req.Rollback()
	}
}

// advance goes on to the next passdb, or sums up.
func (c *passChain) advance(goOn bool, r result) (result, bool) {
	if c.req.LoginUser != "" && r == resultOK {
		c.becomeLoginUser()
	} else {
		c.i++
	}
	c.skip()
	switch {
	case goOn && c.i < len(c.dbs):
		if c.verified && c.earlier.data == "" {
			c.earlier = c.found
		}
		c.found, c.unfit = credentials{}, false
		return r, false
	case r == resultNext:
		c.req.Errorf("Last passdb had noauthenticate field, cannot authenticate user")
		return resultInternal, true
	case c.success:
		return resultOK, true
	case c.internal:
		// The one that failed may have had the right password.
		return resultInternal, true
	case r == resultOK && c.purpose == purposeVerify && c.fetch == "":
		return resultMismatch, true // right, but the rules do not make that a success
	case r == resultUnsupported && c.missed:
		return resultUnknown, true // one that has such passwords does not know the user
	}
	return r, true
}

// becomeLoginUser makes an authenticated master user the one as whom it wanted
// to log in. Further passdbs are asked about that one.
func (c *passChain) becomeLoginUser() {
	r := c.req
	c.server.log.Infof("Master user logging in as %s", r.LoginUser)
	r.MasterUser, r.User, r.LoginUser = r.User, r.LoginUser, ""
	r.Save() // a passdb that refuses that one does not make it want to be somebody again
	c.dbs, c.i = c.server.passdbs, 0
}
