package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// fileDB is passwd-file, as a passdb and as a userdb:
//
//	user:password:uid:gid:(gecos):home:(shell):extra fields
//
// The args are "[scheme=SCHEME] [username_format=TEMPLATE] PATH"; PATH may
// have %variables.
type fileDB struct {
	env            *Env
	path           string
	scheme         string
	usernameFormat string
	asUserdb       bool
}

func openFilePassdb(env *Env, args string) (Passdb, error) {
	return openFile(env, args, "CRYPT", false)
}
func openFileUserdb(env *Env, args string) (Userdb, error) { return openFile(env, args, "CRYPT", true) }

func openFile(env *Env, args, scheme string, asUserdb bool) (*fileDB, error) {
	f := &fileDB{env: env, scheme: scheme, usernameFormat: "%u", asUserdb: asUserdb}
	for {
		args = strings.TrimLeft(args, " ")
		word, rest, _ := strings.Cut(args, " ")
		name, value, ok := strings.Cut(word, "=")
		switch {
		case ok && name == "scheme":
			f.scheme = value
		case ok && name == "username_format":
			f.usernameFormat = value
		default:
			f.path = args
		}
		if f.path != "" || rest == "" {
			break
		}
		args = rest
	}
	if f.path == "" {
		return nil, fmt.Errorf("passwd-file: args is missing the path of the file")
	}
	if asUserdb {
		env.files.declareUserdb(f.path)
	}
	return f, nil
}

func (f *fileDB) Blocking() bool { return false }

// find returns the user's line.
func (f *fileDB) find(r *Request) (*fileEntry, error) {
	path, err := r.Expand(f.path)
	if err != nil {
		return nil, fmt.Errorf("Failed to expand passwd-file path %s: %w", f.path, err)
	}
	if path != f.path && !isPathSafe(r.User) {
		return nil, ErrUnknownUser // never a way out of the directory of PATH
	}
	table, err := f.env.files.get(path, f.path, f.env.Log)
	switch {
	case errors.Is(err, fs.ErrNotExist) && path != f.path: // no users of that domain
		if r.Verbose {
			r.Log.Infof("missing passwd file: %s", path)
		}
		return nil, Told(ErrUnknownUser)
	case err != nil:
		return nil, err
	}
	name, err := r.Expand(f.usernameFormat)
	if err != nil {
		return nil, fmt.Errorf("Failed to expand username_format %s: %w", f.usernameFormat, err)
	}
	r.Debugf("lookup: user=%s file=%s", name, path)
	entry := table.users[name]
	if entry == nil {
		return nil, ErrUnknownUser
	}
	return entry, nil
}

// isPathSafe reports whether neither a user name nor its parts lead elsewhere in
// a path.
func isPathSafe(user string) bool {
	name, domain, _ := strings.Cut(user, "@")
	for _, part := range [...]string{user, name, domain} {
		if part == "." || part == ".." || strings.ContainsAny(part, "/\x00") {
			return false
		}
	}
	return true
}

func (f *fileDB) Fetch(_ context.Context, r *Request) (Secret, error) {
	entry, err := f.find(r)
	if err != nil {
		return Secret{DefaultScheme: f.scheme}, err
	}
	r.stored = entry.password
	for _, field := range entry.extra {
		if err := expandExtra(r, &field); err != nil {
			return Secret{}, err
		}
		r.SetField(field)
	}
	return Secret{Stored: entry.password, Empty: entry.password == "", DefaultScheme: f.scheme}, nil
}

func (f *fileDB) LookupUser(_ context.Context, r *Request) error {
	entry, err := f.find(r)
	if err != nil {
		return err
	}
	if !entry.isUser {
		return ErrUnknownUser
	}
	for _, field := range [...]Field{{Name: "uid", Value: entry.uid}, {Name: "gid", Value: entry.gid}, {Name: "home", Value: entry.home}} {
		if field.Value != "" {
			r.Userdb.Set(field)
		}
	}
	for _, field := range entry.extra {
		name, ok := strings.CutPrefix(field.Name, "userdb_")
		if !ok {
			continue
		}
		field.Name = name
		if err := expandExtra(r, &field); err != nil {
			return err
		}
		r.SetUserdbField(field)
	}
	return nil
}

func expandExtra(r *Request, field *Field) error {
	template := field.Value
	var err error
	if field.Value, err = r.Expand(template); err != nil {
		return fmt.Errorf("Failed to expand extra field %s=%s: %w", field.Name, template, err)
	}
	return nil
}

// List names all users of the file, in its order, also those whose lines are
// of no use for logins.
func (f *fileDB) List(_ context.Context, fn func(string) bool) error {
	if strings.Contains(f.path, "%") {
		return fmt.Errorf("passwd-file: User iteration isn't currently supported with %%variable paths")
	}
	table, err := f.env.files.get(f.path, f.path, f.env.Log)
	if err != nil {
		return err
	}
	for _, name := range table.order {
		if !fn(name) {
			break
		}
	}
	return nil
}
