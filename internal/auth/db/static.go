package db

import "context"

// staticPassdb gives every user the same password and fields.
type staticPassdb struct {
	password    string
	hasPassword bool
	fields      Templates
}

func openStaticPassdb(_ *Env, args string) (Passdb, error) {
	p := &staticPassdb{fields: ParseTemplates(args)}
	p.password, p.hasPassword = p.fields.take("password")
	return p, nil
}

func (p *staticPassdb) Blocking() bool { return false }

func (p *staticPassdb) Fetch(_ context.Context, r *Request) (Secret, error) {
	r.Debugf("lookup")
	if err := p.fields.SetFields(r); err != nil {
		return Secret{}, err
	}
	if !p.hasPassword {
		if !r.NoPassword {
			r.Infof("No password returned (and no nopassword)")
			return Secret{}, Told(ErrMismatch)
		}
		return Secret{}, nil
	}
	password, err := r.Expand(p.password)
	return Secret{Stored: password, Empty: password == "", DefaultScheme: "PLAIN"}, err
}

// staticUserdb gives every user the same fields.
type staticUserdb struct {
	fields   Templates
	allowAll bool
}

func openStaticUserdb(_ *Env, args string) (Userdb, error) {
	u := &staticUserdb{fields: ParseTemplates(args)}
	value, ok := u.fields.take("allow_all_users")
	u.allowAll = ok && (value == "yes" || value == "")
	return u, nil
}

func (u *staticUserdb) Blocking() bool { return false }

// NeedsPassdb tells that only the passdbs know which users exist.
func (u *staticUserdb) NeedsPassdb() bool { return !u.allowAll }

func (u *staticUserdb) LookupUser(_ context.Context, r *Request) error {
	return u.fields.SetUserdbFields(r)
}
