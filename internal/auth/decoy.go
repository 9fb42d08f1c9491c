package auth

import (
	"context"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
)

// A decoy is the stored password that the one tried is compared with where a passdb does
// not know the user, so that an unknown user costs what a known one does: if it were less,
// the time of the answer, or how busy the server is, would tell which users exist. It is
// the last one that the passdb gave for anybody, and so of the same scheme and cost; until
// there is one, a made one of the default scheme. What the comparison says is forgotten.
type decoy struct {
	mu           sync.Mutex
	scheme, data string
	fallback     string // scheme
}

// learn takes a stored password as the next decoy.
func (d *decoy) learn(s db.Secret) {
	if s.Stored == "" {
		return
	}
	scheme, data := password.Split(s.Stored, s.DefaultScheme)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scheme, d.data = scheme, data
}

// hint tells the default scheme.
func (d *decoy) hint(scheme string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fallback = scheme
}

// get returns the decoy; ok is false if there can be none.
func (d *decoy) get() (scheme, data string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.scheme == "" {
		scheme := d.fallback
		if scheme == "" {
			scheme = "CRYPT"
		}
		data, err := password.Generate(scheme, "nobody's", password.Options{User: "nobody"})
		if err != nil {
			return "", "", false // a scheme with which nobody can log in
		}
		d.scheme, d.data = scheme, data
	}
	return d.scheme, d.data, true
}

// tell returns the answer of a passdb, after the work that it would have made for a user
// who is known. It is not ok if that has to wait and may not.
func (c *passChain) tell(ctx context.Context, p *passdb, r result, mayWait bool) (told result, ok bool) {
	_, compares := p.driver.(db.Fetcher)
	_, verifies := p.driver.(db.Verifier)
	if r != resultUnknown || !compares || verifies || !c.checksPassword(p) {
		return r, true
	}
	scheme, data, ok := p.decoy.get()
	if !ok {
		return r, true
	}
	c.unknown = !mayWait && password.Expensive(scheme, data)
	if c.unknown {
		return 0, false
	}
	c.verify(ctx, scheme, data) //nolint:errcheck // the user is unknown, whatever it says
	return r, true
}
