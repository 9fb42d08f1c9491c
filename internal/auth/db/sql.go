package db

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/sqldb"
)

// sqlDB is sql, as a passdb and as a userdb: what the queries of a
// dovecot-sql.conf.ext return become fields by the names of their columns.
type sqlDB struct {
	pool     *sqldb.Pool
	scheme   string
	worker   bool
	password sqlQuery
	user     sqlQuery
	iterate  sqlQuery
	update   sqlQuery
}

// A sqlQuery is one of the queries.
type sqlQuery struct {
	*sqldb.Query
	text    string
	builtIn string // text if the file does not set it
}

// sqlPools are the open databases by driver and connect string: sections that
// name the same one share its connections.
type sqlPools struct {
	mu    sync.Mutex
	pools map[[2]string]*sqldb.Pool
}

func (p *sqlPools) open(driver, connect string) (*sqldb.Pool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := [2]string{driver, connect}
	if pool := p.pools[key]; pool != nil {
		return pool, nil
	}
	pool, err := sqldb.Open(driver, connect)
	if err != nil {
		return nil, err
	}
	if p.pools == nil {
		p.pools = make(map[[2]string]*sqldb.Pool)
	}
	p.pools[key] = pool
	return pool, nil
}

func (p *sqlPools) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pool := range p.pools {
		pool.Close()
	}
	p.pools = nil
}

func openSQLPassdb(env *Env, args string) (Passdb, error) { return openSQL(env, args) }

func openSQLUserdb(env *Env, args string) (Userdb, error) {
	s, err := openSQL(env, args)
	delete(env.unused, args)
	return s, err
}

func openSQL(env *Env, path string) (*sqlDB, error) {
	set, err := ext.LoadSQL(env.ExtFiles, path, env.warn)
	if err != nil {
		return nil, err
	}
	s := &sqlDB{scheme: set.DefaultPassScheme, worker: *set.Driver != "pgsql"}
	if s.pool, err = env.sql.open(*set.Driver, *set.Connect); err != nil {
		return nil, err
	}
	defaults := ext.SQLDefaults()
	for _, q := range [...]struct {
		to           *sqlQuery
		name         string
		text, preset string
	}{
		{&s.password, "password_query", set.PasswordQuery, defaults.PasswordQuery},
		{&s.user, "user_query", set.UserQuery, defaults.UserQuery},
		{&s.iterate, "iterate_query", set.IterateQuery, defaults.IterateQuery},
		{&s.update, "update_query", set.UpdateQuery, defaults.UpdateQuery},
	} {
		if q.to.Query, err = s.pool.Parse(q.text); err != nil {
			return nil, fmt.Errorf("sql %s: %s: %w", path, q.name, err)
		}
		q.to.text = q.text
		if q.text == q.preset {
			q.to.builtIn = fmt.Sprintf(" (using built-in default %s: %s)", q.name, q.preset)
		}
	}
	for name, changed := range map[string]bool{"user_query": s.user.builtIn == "", "iterate_query": s.user.builtIn != "" && s.iterate.builtIn == ""} {
		if changed && !set.UserdbWarningDisable {
			env.setUnused(path, name)
		}
	}
	return s, nil
}

func (s *sqlDB) Blocking() bool { return true }

// ForgetsRefused implements [Forgetful]: Dovecot asks all but PostgreSQL in a worker.
func (s *sqlDB) ForgetsRefused() bool { return s.worker }

// Fetch implements [Fetcher] with password_query.
func (s *sqlDB) Fetch(ctx context.Context, r *Request) (Secret, error) {
	r.logQuery("query: ", &s.password)
	rows, hasPassword := 0, false
	var fields []Field
	err := s.query(ctx, r, &s.password, func(columns []string, row sqldb.Row) bool {
		if rows++; rows > 1 {
			return false
		}
		fields = fieldsOf(columns, row)
		for _, name := range columns {
			hasPassword = hasPassword || name == "password" || name == "password_noscheme"
		}
		return true
	})
	user := r.User
	for _, f := range fields {
		r.SetField(f)
	}
	switch {
	case errors.Is(err, sqldb.ErrUnsafe):
		return Secret{}, s.unsafe(r, err)
	case err != nil:
		return Secret{}, fmt.Errorf("Password query failed: %w%s", err, s.password.builtIn)
	case rows == 0:
		return Secret{DefaultScheme: s.scheme}, ErrUnknownUser
	case !hasPassword:
		err = errors.New("Password query must return a field named 'password'")
	case rows > 1:
		err = errors.New("Password query returned multiple matches")
	}
	if err != nil {
		r.Errorf("%v", err)
		r.User = user // nothing the query said counts
		return Secret{}, Told(err)
	}
	stored, ok := r.Fields.Get("password")
	if !ok && !r.NoPassword {
		r.Infof("No password returned (and no nopassword)")
		return Secret{}, Told(ErrMismatch)
	}
	return Secret{Stored: stored, Empty: ok && stored == "", DefaultScheme: s.scheme}, nil
}

// LookupUser implements [Userdb] with user_query.
func (s *sqlDB) LookupUser(ctx context.Context, r *Request) error {
	r.logQuery("", &s.user)
	found := false
	var fields []Field
	err := s.query(ctx, r, &s.user, func(columns []string, row sqldb.Row) bool {
		found = true
		fields = fieldsOf(columns, row)
		return false
	})
	switch {
	case errors.Is(err, sqldb.ErrUnsafe):
		return s.unsafe(r, err)
	case err != nil:
		return fmt.Errorf("User query failed: %w%s", err, s.user.builtIn)
	case !found:
		return ErrUnknownUser
	}
	for _, f := range fields {
		r.SetUserdbField(f)
	}
	return nil
}

// List implements [Lister] with iterate_query.
func (s *sqlDB) List(ctx context.Context, fn func(string) bool) error {
	wrong := false
	err := s.query(ctx, &Request{}, &s.iterate, func(columns []string, row sqldb.Row) bool {
		name, ok := listedName(columns, row)
		if wrong = !ok; wrong {
			return false
		}
		return name == "" || fn(name)
	})
	switch {
	case err != nil:
		return fmt.Errorf("sql(): Query failed: %w%s", err, s.iterate.builtIn)
	case wrong:
		return errors.New("sql(): sql: Iterate query didn't return 'user' field")
	}
	return nil
}

// listedName takes the name from the column user, or username and domain.
func listedName(columns []string, row sqldb.Row) (name string, ok bool) {
	var username, domain *string
	for i, column := range columns {
		switch column {
		case "user":
			if row[i] == nil {
				return "", true
			}
			return *row[i], true
		case "username":
			username, ok = row[i], true
		case "domain":
			domain = row[i]
		}
	}
	switch {
	case username == nil:
		return "", ok
	case domain == nil || *domain == "":
		return *username, ok
	}
	return *username + "@" + *domain, ok
}

// query runs a query about the request.
func (s *sqlDB) query(ctx context.Context, r *Request, q *sqlQuery, fn func([]string, sqldb.Row) bool) error {
	statement, values, err := q.Expand(r.Expand)
	if err != nil {
		return err
	}
	return s.pool.Query(ctx, statement, values, fn)
}

// unsafe is the answer for a user whose name cannot stand in the query: nobody has it.
func (s *sqlDB) unsafe(r *Request, err error) error {
	r.Infof("%v", err)
	return Told(ErrUnknownUser)
}

// fieldsOf returns the columns that are not NULL.
func fieldsOf(columns []string, row sqldb.Row) []Field {
	var fields []Field
	for i, name := range columns {
		if row[i] != nil && name != "" {
			fields = append(fields, Field{Name: name, Value: *row[i]})
		}
	}
	return fields
}
