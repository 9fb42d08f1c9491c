package db

import (
	"context"
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// luaDB is lua, as a userdb and as a passdb that hands out passwords: the functions of a
// script are asked.
type luaDB struct {
	script   *luaScript
	scheme   string
	cacheKey string // empty for answers that are not to be kept
}

// luaVerifyDB is lua as a passdb whose script checks passwords itself.
type luaVerifyDB struct{ luaDB }

// What functions of a script return first.
const (
	luaInternalFailure  = -1
	luaSchemeMissing    = -2
	luaUserUnknown      = -3
	luaUserDisabled     = -4
	luaPassExpired      = -5
	luaNext             = -6
	luaPasswordMismatch = 0
	luaOK               = 1

	luaUserdbUserUnknown = -2
)

// The functions of a script.
const (
	luaPassdbLookup   = "auth_passdb_lookup"
	luaPasswordVerify = "auth_password_verify"
	luaUserdbLookup   = "auth_userdb_lookup"
	luaUserdbIterate  = "auth_userdb_iterate"
)

func openLuaPassdb(env *Env, args string) (Passdb, error) {
	d, err := openLua(env, args, "passdb-lua")
	if err != nil || env.Log == nil {
		return d, err
	}
	verifies, err := d.script.has(luaPasswordVerify)
	if err != nil {
		return nil, err
	}
	if verifies {
		return &luaVerifyDB{*d}, nil
	}
	return d, nil
}

func openLuaUserdb(env *Env, args string) (Userdb, error) { return openLua(env, args, "userdb-lua") }

// openLua reads the args. kind is what Dovecot calls the section in errors.
func openLua(env *Env, args, kind string) (*luaDB, error) {
	d := &luaDB{scheme: "PLAIN", cacheKey: "%u"}
	path, single := "", false
	for word := range strings.FieldsSeq(args) {
		name, value, _ := strings.Cut(word, "=")
		switch {
		case name == "file":
			path = value
		case name == "blocking":
			if single = value == "no"; !single && value != "yes" {
				return nil, fmt.Errorf("Invalid value %s. Field blocking must be yes or no", value)
			}
		case name == "cache_key":
			d.cacheKey = value
		case name == "scheme" && kind == "passdb-lua":
			d.scheme = value
		default:
			return nil, fmt.Errorf("Unsupported parameter %s", word)
		}
	}
	if path == "" {
		return nil, fmt.Errorf("%s: Missing mandatory file= parameter", kind)
	}
	var err error
	if d.script, err = env.lua.open(env, path, single); err != nil {
		return nil, fmt.Errorf("%s: initialization failed: %w", kind, err)
	}
	return d, nil
}

// Blocking implements [Passdb] and [Userdb]. It does not depend on blocking=no: that means here
// that one state of the script answers everything, in turn.
func (d *luaDB) Blocking() bool { return true }

// PassdbCacheKey implements [CachedPassdb].
func (d *luaDB) PassdbCacheKey() (string, bool) { return CacheKey(d.cacheKey), d.cacheKey != "" }

// UserdbCacheKey implements [CachedUserdb].
func (d *luaDB) UserdbCacheKey() (string, bool) { return d.PassdbCacheKey() }

var (
	_ CachedPassdb = (*luaVerifyDB)(nil)
	_ CachedUserdb = (*luaDB)(nil)
)

// Fetch implements [Fetcher] with auth_passdb_lookup.
func (d *luaDB) Fetch(ctx context.Context, r *Request) (Secret, error) {
	a, err := d.script.ask(ctx, r, luaPassdbLookup, nil, lookupPassdb)
	if err != nil {
		return Secret{}, fmt.Errorf("db-lua: %w", err)
	}
	if err := a.err("db-lua"); err != nil {
		return Secret{}, err
	}
	secret := Secret{DefaultScheme: d.scheme}
	if a.isText {
		secret.DefaultScheme = "PLAIN"
	}
	secret.Stored = a.takePassword()
	for _, f := range a.fields {
		r.SetField(f)
	}
	switch {
	case a.result == luaNext:
		r.NoAuthenticate = true
		return Secret{}, nil
	case r.NoPassword && secret.Stored != "":
		r.Infof("nopassword given and password is not empty")
		return Secret{}, Told(ErrMismatch)
	case !r.NoPassword && secret.Stored == "":
		r.Infof("No password returned (and no nopassword)")
		return Secret{}, Told(ErrMismatch)
	}
	return secret, nil
}

// Verify implements [Verifier] with auth_password_verify.
func (d *luaVerifyDB) Verify(ctx context.Context, r *Request, password string) error {
	a, err := d.script.ask(ctx, r, luaPasswordVerify, []lua.LValue{lua.LString(password)}, lookupPassdb)
	if err != nil {
		return fmt.Errorf("passdb-lua: %w", err)
	}
	if err := a.err("passdb-lua"); err != nil {
		if a.result == luaPasswordMismatch {
			return ErrMismatch
		}
		return err
	}
	for _, f := range a.fields {
		r.SetField(f)
	}
	if a.result == luaNext {
		r.NoAuthenticate = true
	}
	return nil
}

// LookupUser implements [Userdb] with auth_userdb_lookup.
func (d *luaDB) LookupUser(ctx context.Context, r *Request) error {
	a, err := d.script.ask(ctx, r, luaUserdbLookup, nil, lookupUserdb)
	switch {
	case err != nil:
		return fmt.Errorf("userdb-lua: %w", err)
	case a.result == luaUserdbUserUnknown:
		return Told(ErrUnknownUser)
	case a.result != luaOK && a.isText:
		return fmt.Errorf("userdb-lua: %s", a.text)
	case a.result != luaOK:
		return errors.New("userdb-lua: userdb failed")
	}
	for _, f := range a.fields {
		r.SetUserdbField(f)
	}
	return nil
}

// List implements [Lister] with auth_userdb_iterate.
func (d *luaDB) List(ctx context.Context, fn func(string) bool) error {
	names, err := d.script.list(ctx)
	switch {
	case errors.Is(err, errNoIterate):
		return Told(err) // nobody expects it of every script
	case err != nil:
		return fmt.Errorf("lua(): db-lua: %w", err)
	}
	for _, name := range names {
		if !fn(name) {
			break
		}
	}
	return nil
}

// A luaAnswer is what a function said about a user.
type luaAnswer struct {
	result int
	isText bool    // fields were given as a text, which is also the reason of a failure
	text   string  // that text
	fields []Field // of the table or text
}

// err is the answer as a driver's error; nil for success and for "only fields".
func (a *luaAnswer) err(kind string) error {
	switch a.result {
	case luaOK:
		return nil
	case luaNext:
		if a.isText {
			return nil
		}
		a.fields = nil // as Dovecot, which takes them from a text only
		return nil
	case luaPasswordMismatch:
		return Told(ErrMismatch)
	case luaUserUnknown:
		return Told(ErrUnknownUser)
	case luaUserDisabled:
		return ErrDisabled
	case luaPassExpired:
		return ErrExpired
	case luaSchemeMissing:
		return ErrNotSupported
	}
	if a.isText {
		return fmt.Errorf("%s: %s", kind, a.text)
	}
	return fmt.Errorf("%s: passb failed", kind) // the spelling is Dovecot's
}

// takePassword removes the password from the fields and returns it.
func (a *luaAnswer) takePassword() string {
	stored := ""
	rest := a.fields[:0]
	for _, f := range a.fields {
		if f.Name == "password" {
			stored = f.Value
			continue
		}
		rest = append(rest, f)
	}
	a.fields = rest
	return stored
}
