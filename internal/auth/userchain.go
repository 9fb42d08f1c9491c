package auth

import (
	"context"
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
)

// A userLookup is what a request is about when the userdbs are asked.
type userLookup uint8

const (
	lookupOnly  userLookup = iota // somebody wants to know about the user
	lookupLogin                   // the user has logged in
)

// lookupUser asks the userdbs in turn and leaves their fields in the request.
func (s *Server) lookupUser(ctx context.Context, req *db.Request, kind userLookup) result {
	success, internal := false, false
	if len(s.userdbs) == 0 {
		return s.concludeUser(req, kind, success, internal)
	}
	i := 0 // as in Dovecot, the first is asked whatever its skip says
	for {
		u := s.userdbs[i]
		r := s.consult(ctx, u, req, kind)
		next := u.onFailure
		switch r {
		case resultOK:
			next = u.onSuccess
		case resultInternal:
			next = u.onTemp
			internal = true
		}
		switch next.outcome {
		case outcomeOK:
			success = true
		case outcomeFail:
			success = false
		}
		i = s.nextUserdb(i, success)
		last := !next.goOn || i == len(s.userdbs)
		if !u.finish(req, r, success, last) {
			return resultInternal
		}
		if last {
			return s.concludeUser(req, kind, success, internal)
		}
	}
}

// consult asks one userdb.
func (s *Server) consult(ctx context.Context, u *userdb, req *db.Request, kind userLookup) result {
	req.Section, req.Number, req.Verbose = u.name, u.number, u.verbose
	req.Debugf("Performing userdb lookup")
	r := s.askUserdb(ctx, u, req, kind)
	req.Section = u.name // if passdbs were asked in between
	req.Debugf("Finished userdb lookup")
	return r
}

// nextUserdb returns the number of the userdb after i that wants the request.
func (s *Server) nextUserdb(i int, success bool) int {
	for i++; i < len(s.userdbs); i++ {
		if u := s.userdbs[i]; (u.skip != "found" || !success) && (u.skip != "notfound" || success) {
			break
		}
	}
	return i
}

// finish adds the override_fields and keeps what the userdb said, or forgets it: nothing of one that
// does not have the user counts, neither its default_fields nor its override_fields, which could be
// the uid and the home of others. (Dovecot 2.3 takes both of the last userdb if an earlier one has
// the user.) It fails if the override_fields cannot be expanded.
func (u *userdb) finish(req *db.Request, r result, success, last bool) bool {
	switch {
	case last && !success:
		return true
	case r != resultOK:
		req.Userdb.Rollback()
		return true
	}
	if err := u.overrideFields.SetUserdbFields(req); err != nil {
		req.Errorf("Failed to expand override_fields: %v", err)
		return false
	}
	if !last {
		req.Userdb.Save()
	}
	return true
}

// concludeUser is the answer of all userdbs.
func (s *Server) concludeUser(req *db.Request, kind userLookup, success, internal bool) result {
	switch {
	case req.TempFail:
		return resultInternal
	case success:
		return resultOK
	case internal:
		return resultInternal
	case kind == lookupLogin:
		s.logNotFound(req)
	}
	return resultUnknown
}

// askUserdb asks one userdb.
func (s *Server) askUserdb(ctx context.Context, u *userdb, req *db.Request, kind userLookup) result {
	recalled, r, found := s.recallUser(u, req)
	if found {
		return r
	}
	req.Listen()
	err := u.defaultFields.SetUserdbFields(req)
	heard := req.Heard()
	if p, ok := u.driver.(db.PassdbLookup); err == nil && ok && p.NeedsPassdb() && kind == lookupOnly {
		if r := s.userExists(ctx, req); r != resultOK {
			return r
		}
		req.Section, req.Number, req.Verbose = u.name, u.number, u.verbose
	}
	req.Listen()
	if err == nil {
		err = u.lookup(ctx, req)
	}
	heard = append(heard, req.Heard()...)
	return recalled.settle(u, req, s.judgeUserdb(u, req, err), heard)
}

// lookup has the driver answer, in its turn if there is something to wait for.
func (u *userdb) lookup(ctx context.Context, req *db.Request) error {
	if !u.driver.Blocking() {
		return u.driver.LookupUser(ctx, req)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return late(ctx, u.gate.through(ctx, req, func() error { return u.driver.LookupUser(ctx, req) }))
}

// judgeUserdb turns a userdb's answer into a result, and logs what is wrong.
func (s *Server) judgeUserdb(u *userdb, req *db.Request, err error) result {
	switch {
	case err == nil:
		return resultOK
	case errors.Is(err, db.ErrUnknownUser):
		if !db.IsTold(err) {
			s.logUnknown(u, req)
		}
		return resultUnknown
	case errors.Is(err, db.ErrNoFields) && len(s.userdbs) > 1:
		req.Debugf("passdb didn't return userdb entries, trying the next userdb")
		return resultUnknown
	}
	req.Errorf("%v", err)
	return resultInternal
}

// logUnknown tells that a userdb, other than one that has no users of its
// own, does not have the user.
func (s *Server) logUnknown(u *userdb, req *db.Request) {
	if _, ok := u.driver.(db.Lister); !ok {
		return
	}
	text := ""
	if u != s.userdbs[len(s.userdbs)-1] && s.set.VerbosePasswords != "no" {
		text = "  - trying the next userdb"
	}
	req.Infof("unknown user%s", text)
}

// userExists asks the passdbs whether they have the user.
func (s *Server) userExists(ctx context.Context, req *db.Request) result {
	section := req.Section
	chain := s.newPassChain(req, purposeLookup)
	r, _ := chain.run(ctx, true)
	switch r {
	case resultOK, resultInternal:
		return r
	case resultUnsupported:
		s.log.Errorf("%spassdb doesn't support lookups, can't verify user's existence", req.Prefix(section))
		return resultInternal
	}
	return resultUnknown
}

// logNotFound tells of a user who could log in but has no userdb entry: a
// mistake of the configuration.
func (s *Server) logNotFound(req *db.Request) {
	if len(s.userdbs) == 1 {
		req.Errorf("user not found from userdb")
		return
	}
	s.log.Errorf("%suser not found from any userdbs", req.Prefix(strings.ToLower(req.Mechanism)))
}

// blocksUserdb reports whether a userdb lookup may wait.
func (s *Server) blocksUserdb() bool {
	for _, u := range s.userdbs {
		if u.driver.Blocking() {
			return true
		}
		if p, ok := u.driver.(db.PassdbLookup); ok && p.NeedsPassdb() && s.blocksPassdb() {
			return true
		}
	}
	return false
}

func (s *Server) blocksPassdb() bool {
	for _, p := range s.passdbs {
		if p.driver.Blocking() {
			return true
		}
	}
	return false
}
