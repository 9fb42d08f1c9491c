package db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-ldap/ldap/v3"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/ldapdb"
)

// ldapDB is ldap as a userdb, and as a passdb that hands out passwords.
type ldapDB struct {
	dir   *ldapdb.Directory
	set   *ext.LDAP
	scope ldapdb.Scope
	env   *Env

	pass, user, iterate *ldapAttrs
}

// ldapBindDB is ldap as a passdb with auth_bind=yes: the directory checks passwords.
type ldapBindDB struct{ ldapDB }

// directories are the open directories by the path of their file: sections that
// name the same one share its connections.
type directories struct {
	mu   sync.Mutex
	dirs map[string]*ldapdb.Directory
}

func (d *directories) open(path string, set *ext.LDAP) (*ldapdb.Directory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dir := d.dirs[path]; dir != nil {
		return dir, nil
	}
	dir, err := ldapdb.Open(set)
	if err != nil {
		return nil, fmt.Errorf("LDAP %s: %w", path, err)
	}
	if d.dirs == nil {
		d.dirs = make(map[string]*ldapdb.Directory)
	}
	d.dirs[path] = dir
	return dir, nil
}

func (d *directories) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dir := range d.dirs {
		dir.Close()
	}
	d.dirs = nil
}

func openLDAPPassdb(env *Env, args string) (Passdb, error) {
	l, err := openLDAP(env, args)
	if err != nil {
		return nil, err
	}
	if l.set.AuthBind {
		return &ldapBindDB{*l}, nil
	}
	return l, nil
}

func openLDAPUserdb(env *Env, args string) (Userdb, error) { return openLDAP(env, args) }

func openLDAP(env *Env, path string) (*ldapDB, error) {
	set, err := ext.LoadLDAP(env.ExtFiles, path, env.warn)
	if err != nil {
		return nil, err
	}
	l := &ldapDB{set: set, env: env, scope: ldapdb.ParseScope(set.Scope)}
	if l.dir, err = env.ldap.open(path, set); err != nil {
		return nil, err
	}
	for name, given := range map[string]bool{
		"debug_level": set.DebugLevel != "0", "sasl_realm": set.SASLRealm != "", "sasl_authz_id": set.SASLAuthzID != "", "blocking": set.Blocking,
	} {
		if given {
			env.warn(fmt.Sprintf("%s: setting %s has no effect", path, name))
		}
	}
	skip := ""
	if set.AuthBind {
		skip = "password"
	}
	l.pass = parseLDAPAttrs(set.PassAttrs, skip)
	l.user = parseLDAPAttrs(set.UserAttrs, "")
	l.iterate = parseLDAPAttrs(set.IterateAttrs, "")
	return l, nil
}

// Blocking implements [Passdb] and [Userdb].
func (l *ldapDB) Blocking() bool { return true }

// errEntries is the answer to a search that should find one user at most.
var errEntries = errors.New("LDAP search returned multiple entries")

// find searches for the one entry of the user.
func (l *ldapDB) find(ctx context.Context, r *Request, what search, filter string, attrs *ldapAttrs) (*ldap.Entry, error) {
	q := &ldapdb.Query{Scope: l.scope, Attrs: attrs.attrsOf(""), Limit: 2}
	var err error
	if q.Base, err = r.expandWith(*l.set.Base, expansion{escape: ldapdb.Escape}); err != nil {
		return nil, fmt.Errorf("Failed to expand base=%s: %w", *l.set.Base, err)
	}
	if q.Filter, err = r.expandWith(filter, expansion{escape: ldapdb.Escape}); err != nil {
		return nil, fmt.Errorf("Failed to expand filter %s: %w", filter, err)
	}
	l.logSearch(r, what, q)
	var entries []*ldap.Entry
	err = l.dir.Search(ctx, q, func(e *ldap.Entry) bool {
		entries = append(entries, e)
		return len(entries) < 2
	})
	if err != nil {
		return nil, fmt.Errorf("ldap_search(base=%s filter=%s) failed: %w", q.Base, q.Filter, err)
	}
	l.logEntries(r, entries, attrs)
	switch len(entries) {
	case 0:
		return nil, ErrUnknownUser
	case 1:
		return entries[0], nil
	}
	return nil, errEntries
}

// An ldapResult is an entry with the objects that it leads to.
type ldapResult struct {
	r       *Request
	objects map[string]*ldap.Entry
}

// result reads the objects that the attributes want beside the entry.
func (l *ldapDB) result(ctx context.Context, r *Request, e *ldap.Entry, attrs *ldapAttrs) (*ldapResult, error) {
	res := &ldapResult{r: r, objects: map[string]*ldap.Entry{"": e}}
	for _, o := range attrs.objects {
		dn, err := res.expand(o.template, "")
		switch {
		case err != nil:
			return nil, fmt.Errorf("Failed to expand @%s=%s: %w", o.name, o.template, err)
		case dn == "":
			continue
		}
		q := &ldapdb.Query{Base: dn, Scope: ldap.ScopeBaseObject, Filter: "(objectClass=*)", Attrs: o.attrs, Limit: 1}
		err = l.dir.Search(ctx, q, func(e *ldap.Entry) bool {
			res.objects[o.name] = e
			return false
		})
		if err != nil {
			return nil, fmt.Errorf("ldap_search(base=%s) failed: %w", dn, err)
		}
	}
	return res, nil
}

// expand expands a template; %$ is value.
func (res *ldapResult) expand(template, value string) (string, error) {
	return res.r.expandWith(template, expansion{dollar: value, lookup: res.lookup})
}

// lookup is %{ldap:attr:default}.
func (res *ldapResult) lookup(name, arg string) (string, bool) {
	if name != "ldap" {
		return "", false
	}
	attr, dflt, _ := strings.Cut(arg, ":")
	if values := res.values(attr); len(values) > 0 {
		return values[0], true
	}
	return dflt, true
}

func (res *ldapResult) values(attr string) []string {
	name, object, _ := strings.Cut(attr, "@")
	return ldapValues(res.objects[object], name)
}

// each calls set with the fields of the attributes that have a value.
func (res *ldapResult) each(attrs *ldapAttrs, set func(Field)) error {
	for i := range attrs.items {
		item := &attrs.items[i]
		if item.field == "" {
			continue
		}
		name, err := res.expand(item.field, "")
		if err != nil {
			return fmt.Errorf("Failed to expand %s: %w", item.field, err)
		}
		values := ldapValues(res.objects[item.object], item.attr)
		if len(values) > 1 {
			res.r.Log.Warningf("%sMultiple values found for '%s', using value '%s'", res.r.Prefix(res.r.Section), name, values[0])
		}
		value := ""
		switch {
		case len(values) > 0:
			value = values[0]
		case item.attr != "":
			continue
		}
		if item.hasTemplate {
			if value, err = res.expand(item.template, value); err != nil {
				res.r.Log.Warningf("%sFailed to expand template %s: %v", res.r.Prefix(res.r.Section), item.template, err)
			}
		}
		set(Field{Name: name, Value: value})
	}
	return nil
}

// fetch sets the fields of the passdb.
func (l *ldapDB) fetch(ctx context.Context, r *Request, what search) (*ldap.Entry, error) {
	e, err := l.find(ctx, r, what, l.set.PassFilter, l.pass)
	if err != nil {
		return nil, err
	}
	res, err := l.result(ctx, r, e, l.pass)
	if err != nil {
		return nil, err
	}
	return e, res.each(l.pass, r.SetField)
}

// Fetch implements [Fetcher]. With auth_bind there is no password to hand out.
func (l *ldapDB) Fetch(ctx context.Context, r *Request) (Secret, error) {
	if _, err := l.fetch(ctx, r, passSearch); err != nil {
		return Secret{DefaultScheme: l.set.DefaultPassScheme}, err
	}
	stored, ok := r.Fields.Get("password")
	if !ok && !r.NoPassword && !l.set.AuthBind {
		r.Infof("No password returned (and no nopassword)")
		return Secret{}, Told(ErrMismatch)
	}
	return Secret{Stored: stored, DefaultScheme: l.set.DefaultPassScheme}, nil
}

// Verify implements [Verifier].
func (l *ldapBindDB) Verify(ctx context.Context, r *Request, password string) error {
	if password == "" {
		r.Infof("Login attempt with empty password")
		return Told(ErrMismatch)
	}
	var dn string
	if template := l.set.AuthBindUserDN; template != "" {
		var err error
		if dn, err = r.expandWith(template, expansion{escape: ldapdb.Escape}); err != nil {
			return fmt.Errorf("Failed to expand auth_bind_userdn=%s: %w", template, err)
		}
	} else {
		e, err := l.fetch(ctx, r, bindSearch)
		if err != nil {
			return err
		}
		dn = e.DN
	}
	err := l.dir.Bind(ctx, dn, password)
	switch {
	case errors.Is(err, ldapdb.ErrMismatch):
		r.Infof("Password mismatch (for LDAP bind)")
		return Told(ErrMismatch)
	case errors.Is(err, ldapdb.ErrNoEntry):
		return ErrUnknownUser
	}
	return err
}

// LookupUser implements [Userdb].
func (l *ldapDB) LookupUser(ctx context.Context, r *Request) error {
	e, err := l.find(ctx, r, userSearch, l.set.UserFilter, l.user)
	if err != nil {
		return err
	}
	res, err := l.result(ctx, r, e, l.user)
	if err != nil {
		return err
	}
	return res.each(l.user, r.SetUserdbField)
}

// List implements [Lister] with all values of the field user.
func (l *ldapDB) List(ctx context.Context, fn func(string) bool) error {
	r := &Request{Log: l.env.Log, Section: "ldap"}
	q := &ldapdb.Query{Scope: l.scope, Attrs: l.iterate.attrsOf("")}
	var err error
	if q.Base, err = r.expandWith(*l.set.Base, expansion{escape: ldapdb.Escape}); err != nil {
		return fmt.Errorf("ldap: Failed to expand base=%s: %w", *l.set.Base, err)
	}
	if q.Filter, err = r.expandWith(l.set.IterateFilter, expansion{escape: ldapdb.Escape}); err != nil {
		return fmt.Errorf("ldap: Failed to expand iterate_filter=%s: %w", l.set.IterateFilter, err)
	}
	err = l.dir.Search(ctx, q, func(e *ldap.Entry) bool {
		for _, name := range l.listed(r, e) {
			if !fn(name) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("ldap: ldap_search(base=%s filter=%s) failed: %w", q.Base, q.Filter, err)
	}
	return nil
}

// listed returns the names of the users that an entry is.
func (l *ldapDB) listed(r *Request, e *ldap.Entry) []string {
	var names []string
	res := &ldapResult{r: r, objects: map[string]*ldap.Entry{"": e}}
	for i := range l.iterate.items {
		item := &l.iterate.items[i]
		if item.field != "user" {
			continue
		}
		values := ldapValues(e, item.attr)
		if !item.hasTemplate {
			names = append(names, values...)
			continue
		}
		if item.attr == "" {
			values = []string{""}
		}
		for _, v := range values {
			if name, err := res.expand(item.template, v); err == nil {
				names = append(names, name)
			}
		}
	}
	return names
}
