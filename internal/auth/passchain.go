package auth

import (
	"context"
	"errors"
	"strings"

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

// A stage is where a chain may run: each can do what those before it can.
type stage uint8

const (
	stageInline stage = iota // where others wait: only what is quick
	stageHash                // among the few that compute expensive hashes
	stageWork                // among those that wait for databases
)

// A purpose is what the passdbs are asked for.
type purpose uint8

const (
	purposeVerify purpose = iota // check the password
	purposeLookup                // find the user and its fields
)

// A passChain asks the passdbs in turn. It is left, with what it knows so far,
// where it needs a stage that it may not use.
type passChain struct {
	server  *Server
	req     *db.Request
	purpose purpose
	dbs     []*passdb
	i       int // the one asked

	fetched  bool // its driver has answered with secret
	secret   db.Secret
	success  bool    // one said yes
	verified bool    // the password was right; no more checks
	internal bool    // one failed temporarily
	fetch    string  // scheme of the password asked for, or empty
	found    string  // that password
	giver    *passdb // which had it
	hashUser string  // the name in it; empty for the user

	recalled recollection // of the one asked
}

// newPassChain starts with the master passdbs for a master user's login.
func (s *Server) newPassChain(req *db.Request, p purpose) passChain {
	c := passChain{server: s, req: req, purpose: p, dbs: s.passdbs}
	if req.LoginUser != "" {
		c.dbs = s.masterdbs
	}
	c.skip()
	return c
}

// skip goes on to the next passdb that wants the request.
func (c *passChain) skip() {
	for c.i < len(c.dbs) && !c.dbs[c.i].wants(c.req, c.success) {
		c.i++
	}
}

// run asks until there is an answer, or until it needs a stage beyond at.
func (c *passChain) run(ctx context.Context, at stage) (r result, done bool, need stage) {
	if c.i == len(c.dbs) {
		return c.noneLeft(), true, 0
	}
	for {
		p := c.dbs[c.i]
		r, need := c.ask(ctx, p, at)
		if need > at {
			return 0, false, need
		}
		if r, done := c.conclude(p, r); done {
			return r, true, 0
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
	case c.purpose == purposeVerify:
		c.server.log.Infof("%sAll password databases were skipped", r.Prefix("auth"))
	}
	return resultUnknown
}

// ask asks one passdb. A need beyond at means that it was not, or not fully.
func (c *passChain) ask(ctx context.Context, p *passdb, at stage) (r result, need stage) {
	c.enter(p)
	if r, done := c.recall(p); done {
		return r, 0
	}
	if !c.fetched {
		if p.driver.Blocking() && at < stageWork {
			return 0, stageWork
		}
		done, err := c.query(ctx, p)
		if done || err != nil {
			return c.settle(p, err), 0
		}
		c.fetched = true
	}
	if c.checksHash(p) && at < stageHash && c.isExpensive() {
		return 0, stageHash
	}
	err := c.compare(p)
	if c.outdated(err) {
		c.disregard()
		return c.ask(ctx, p, at)
	}
	return c.settle(p, err), 0
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
	c.req.Save()
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
		return true, p.overrideFields.SetFields(c.req)
	}
	f, ok := p.driver.(db.Fetcher)
	if !ok {
		return true, db.ErrNotSupported
	}
	if c.secret, err = f.Fetch(ctx, c.req); err != nil {
		return true, err
	}
	if stored, ok := c.req.Fields.Get("password"); ok && c.secret.Stored == "" {
		c.secret.Stored = stored
	}
	c.hear()
	return false, p.overrideFields.SetFields(c.req)
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
	return c.req.NoAuthenticate || (c.req.NoPassword && c.secret.Stored == "")
}

// compare decides from what was fetched.
func (c *passChain) compare(p *passdb) error {
	r := c.req
	if r.NoAuthenticate {
		return nil
	}
	if r.NoPassword && c.secret.Stored != "" {
		r.Errorf("nopassword set but password is non-empty")
	}
	if c.fetch != "" && !c.verified {
		c.giver = p
		return c.give() // later ones only add fields: the proof is about these credentials
	}
	if !c.checksHash(p) {
		if c.purpose == purposeLookup && c.secret.Stored != "" {
			return c.knownScheme()
		}
		return nil
	}
	if c.secret.Stored == "" {
		return db.ErrMismatch
	}
	scheme, data := password.Split(c.secret.Stored, c.secret.DefaultScheme)
	err := password.Verify(scheme, data, r.Password, r.OriginalUser)
	var unknown password.UnknownSchemeError
	var invalid *password.InvalidError
	switch {
	case errors.Is(err, password.ErrMismatch):
		return db.ErrMismatch
	case errors.As(err, &unknown), errors.As(err, &invalid):
		// As in Dovecot, an error for the administrator, but a plain refusal:
		// trying again later will not help.
		r.Errorf("%v", err)
		return db.Told(db.ErrMismatch)
	}
	return err
}

// knownScheme is the check that remains in a lookup without password.
func (c *passChain) knownScheme() error {
	scheme, _ := password.Split(c.secret.Stored, c.secret.DefaultScheme)
	if !password.Known(scheme) {
		c.req.Errorf("Unknown scheme %s", scheme)
		return db.ErrNotSupported
	}
	return nil
}

// give finds what a mechanism that asked for credentials can use.
func (c *passChain) give() error {
	scheme, data := password.Split(c.secret.Stored, c.secret.DefaultScheme)
	switch {
	case c.secret.Stored == "" && c.req.NoPassword:
		return db.ErrNotSupported
	case strings.EqualFold(scheme, c.fetch):
		c.found = data
		return nil
	case !password.IsPlain(scheme):
		c.req.Infof("Requested %s scheme, but we have only %s", c.fetch, scheme)
		return db.ErrNotSupported
	}
	user := c.hashUser
	if user == "" {
		user = c.req.User
	}
	var err error
	c.found, err = password.Generate(c.fetch, data, password.Options{User: user})
	return err
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
	if p.deny && r != resultUnknown {
		req.Rollback()
		if r == resultInternal {
			return r, true
		}
		c.logDenied(p)
		return resultDisabled, true
	}
	if req.Failed {
		// A field refused the login, not the password: as if not found.
		if r == resultOK {
			r = resultUnknown
		}
		req.Failed = false
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
	case resultNext:
		next = rules["continue"]
	}
	if final {
		return r, true
	}
	c.remember(next, r)
	return c.advance(next.goOn, r)
}

// logDenied tells that a deny passdb has the user; in logins Dovecot leaves out
// which.
func (c *passChain) logDenied(p *passdb) {
	prefix := ""
	if c.purpose == purposeLookup {
		prefix = c.req.Prefix(p.name)
	}
	c.server.log.Infof("%sUser found from deny passdb", prefix)
}

// remember keeps what the rule says about a result.
func (c *passChain) remember(next rule, r result) {
	switch next.outcome {
	case outcomeOK:
		c.success = true
	case outcomeFail:
		c.success = false
	}
	if next.goOn && r == resultOK {
		c.verified = true
	}
	c.fetched, c.secret, c.recalled = false, db.Secret{}, recollection{}
	c.req.NoPassword, c.req.NoAuthenticate = false, false
	if r != resultOK && r != resultNext {
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
		return r, false
	case r == resultNext:
		c.req.Errorf("Last passdb had noauthenticate field, cannot authenticate user")
		return resultInternal, true
	case c.success:
		return resultOK, true
	case c.internal:
		// The one that failed may have had the right password.
		return resultInternal, true
	case r == resultOK:
		return resultMismatch, true // right, but the rules do not make that a success
	}
	return r, true
}

// becomeLoginUser makes an authenticated master user the one as whom it wanted
// to log in. Further passdbs are asked about that one.
func (c *passChain) becomeLoginUser() {
	r := c.req
	c.server.log.Infof("Master user logging in as %s", r.LoginUser)
	r.MasterUser, r.User, r.LoginUser = r.User, r.LoginUser, ""
	c.dbs, c.i = c.server.passdbs, 0
}
