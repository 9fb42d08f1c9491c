package db

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// passwd is the system's users: those of the name service switch, or, where nobody can
// ask that, of /etc/passwd, read like a passwd-file. Its passdb is of use only where
// entries hold passwords, its userdb everywhere.
type passwd struct {
	fileDB
	fields Templates // userdb args
}

func openPasswd(env *Env, args string) *passwd {
	path := env.PasswdFile
	if path == "" {
		path = "/etc/passwd"
	}
	p := &passwd{fileDB: fileDB{env: env, path: path, scheme: "CRYPT", usernameFormat: "%u"}, fields: ParseTemplates(args)}
	p.fields.take("blocking")
	return p
}

func openPasswdPassdb(env *Env, args string) (Passdb, error) { return openPasswd(env, args), nil }
func openPasswdUserdb(env *Env, args string) (Userdb, error) { return openPasswd(env, args), nil }

// Blocking implements [Passdb] and [Userdb].
func (p *passwd) Blocking() bool { return p.env.System != nil }

// entry finds the user.
func (p *passwd) entry(ctx context.Context, r *Request) (*fileEntry, error) {
	if p.env.System == nil {
		return p.find(r)
	}
	r.Debugf("lookup")
	u, err := p.env.System.Lookup(ctx, r.User)
	switch {
	case err != nil:
		return nil, fmt.Errorf("getpwnam() failed: %w", err)
	case u == nil:
		return nil, ErrUnknownUser
	}
	r.User = u.Name // the same user may have several names
	return &fileEntry{
		password: u.Password, uid: strconv.FormatUint(uint64(u.UID), 10), gid: strconv.FormatUint(uint64(u.GID), 10), home: u.Home,
	}, nil
}

func (p *passwd) Fetch(ctx context.Context, r *Request) (Secret, error) {
	entry, err := p.entry(ctx, r)
	if err != nil {
		return Secret{}, err
	}
	if !validSystemPassword(entry.password) {
		r.Infof("invalid password field")
		return Secret{}, ErrDisabled
	}
	r.SetField(Field{Name: "user", Value: r.User})
	return Secret{Stored: entry.password, DefaultScheme: p.scheme}, nil
}

// validSystemPassword tells apart hashes, and an x for one that is elsewhere, from
// what locks an account.
func validSystemPassword(hash string) bool {
	return hash != "" && hash[0] != '*' && hash[0] != '!'
}

func (p *passwd) LookupUser(ctx context.Context, r *Request) error {
	entry, err := p.entry(ctx, r)
	if err != nil {
		return err
	}
	if entry.uid == "" || entry.gid == "" {
		return ErrUnknownUser
	}
	for _, f := range [...]Field{{Name: "system_groups_user", Value: r.User}, {Name: "uid", Value: entry.uid}, {Name: "gid", Value: entry.gid}, {Name: "home", Value: entry.home}} {
		r.SetUserdbField(f)
	}
	return p.fields.SetUserdbFields(r)
}

// List names the users who may have mail: those whose uid is in the range of
// first_valid_uid and last_valid_uid.
func (p *passwd) List(ctx context.Context, fn func(string) bool) error {
	if p.env.System != nil {
		return p.env.System.List(ctx, func(name string, uid uint32) bool {
			return !p.validUID(strconv.FormatUint(uint64(uid), 10)) || fn(name)
		})
	}
	table, err := p.env.files.get(p.path, p.path, p.env.Log)
	if err != nil {
		return err
	}
	for _, name := range table.order {
		entry := table.users[name]
		if entry == nil || !p.validUID(entry.uid) || strings.HasPrefix(name, "+") {
			continue
		}
		if !fn(name) {
			break
		}
	}
	return nil
}

func (p *passwd) validUID(text string) bool {
	uid, err := strconv.ParseUint(text, 10, 32)
	if err != nil || uint32(uid) < p.env.FirstValidUID {
		return false
	}
	return p.env.LastValidUID == 0 || uint32(uid) <= p.env.LastValidUID
}
