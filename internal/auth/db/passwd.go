package db

import (
	"context"
	"strconv"
	"strings"
)

// passwd is the system's users, read from /etc/passwd like a passwd-file.
// Its passdb is of use only where that holds passwords, its userdb
// everywhere.
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

func (p *passwd) Fetch(_ context.Context, r *Request) (Secret, error) {
	entry, err := p.find(r)
	if err != nil {
		return Secret{}, err
	}
	if !validSystemPassword(entry.password) {
		r.Infof("invalid password field")
		return Secret{}, ErrUnknownUser
	}
	r.SetField(Field{Name: "user", Value: r.User})
	return Secret{Stored: entry.password, DefaultScheme: p.scheme}, nil
}

// validSystemPassword tells apart hashes and what marks an account without
// password of its own.
func validSystemPassword(hash string) bool {
	return hash != "" && hash != "x" && hash[0] != '*' && hash[0] != '!'
}

func (p *passwd) LookupUser(_ context.Context, r *Request) error {
	entry, err := p.find(r)
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
func (p *passwd) List(_ context.Context, fn func(string) bool) error {
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
