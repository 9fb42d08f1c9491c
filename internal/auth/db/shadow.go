package db

import (
	"context"
	"fmt"
)

// shadowDB is shadow: the hashes of the system's users.
type shadowDB struct{ env *Env }

func openShadow(env *Env, args string) (Passdb, error) {
	if args != "" && args != "blocking=no" && args != "blocking=yes" {
		return nil, fmt.Errorf("shadow: Unknown setting: %s", args)
	}
	return &shadowDB{env}, nil
}

// Blocking implements [Passdb].
func (s *shadowDB) Blocking() bool { return true }

// Fetch implements [Fetcher].
func (s *shadowDB) Fetch(ctx context.Context, r *Request) (Secret, error) {
	if s.env.System == nil {
		return Secret{}, errNoWorker
	}
	r.Debugf("lookup")
	hash, ok, err := s.env.System.Shadow(ctx, r.User)
	switch {
	case err != nil:
		return Secret{}, fmt.Errorf("getspnam() failed: %w", err)
	case !ok:
		return Secret{}, ErrUnknownUser
	case !validSystemPassword(hash):
		r.Infof("invalid password field")
		return Secret{}, ErrDisabled
	}
	r.SetField(Field{Name: "user", Value: r.User})
	return Secret{Stored: hash, DefaultScheme: "CRYPT"}, nil
}
