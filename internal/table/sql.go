package table

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/sqldb"
)

// sqlTable is mysql_table(5), pgsql_table(5) and sqlite_table(5).
type sqlTable struct {
	querier
	statement      string
	expansionLimit int
	firstColumn    bool // sqlite: the others do not count
	mustGiveRows   bool // a statement that cannot give any is a mistake

	mu      sync.Mutex
	servers []*sqlServer
}

// A sqlServer is one of hosts.
type sqlServer struct {
	host  string // as configured
	local bool   // a socket of this machine, which is tried first
	pool  *sqldb.Pool
	query *sqldb.Query
	used  bool      // it answered last time
	down  time.Time // it failed then
}

// sqlRetry is how long a server is left alone that has failed.
const sqlRetry = 60 * time.Second

func openSQL(typ string) func(spec, name string, o *Options) (Table, error) {
	return func(_, name string, o *Options) (Table, error) {
		c, err := openClient(name, o)
		if err != nil {
			return nil, err
		}
		t := &sqlTable{querier: querier{typ: typ, name: name, o: o}}
		if err := t.configure(c); err != nil {
			return nil, err
		}
		if err := t.connect(c); err != nil {
			return nil, err
		}
		return t, nil
	}
}

// configure reads what is asked and what is made of the answer.
func (t *sqlTable) configure(c *client) error {
	t.statement = c.str("query", "")
	if t.statement == "" && t.typ == "pgsql" {
		if function := c.str("select_function", ""); function != "" {
			t.statement = "SELECT " + function + "('%s')"
		}
	}
	if t.statement == "" {
		var err error
		if t.statement, err = oldStatement(c); err != nil {
			return err
		}
	}
	t.resultFormat = c.str("result_format", "%s")
	t.expansionLimit = c.num("expansion_limit", 0, math.MinInt32)
	t.mustGiveRows = t.typ == "mysql" && c.yes("require_result_set", true)
	t.firstColumn = t.typ == "sqlite"
	if _, err := t.parse(t.statement, true); err != nil {
		return err
	}
	if _, err := t.parse(t.resultFormat, false); err != nil {
		return err
	}
	if err := t.parseDomains(c.str("domain", "")); err != nil {
		return err
	}
	return c.err
}

// oldStatement makes the statement from the parameters that query has replaced.
func oldStatement(c *client) (string, error) {
	table, selectField, whereField := c.required("table"), c.required("select_field"), c.required("where_field")
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s='%%s' %s", selectField, table, whereField, c.str("additional_conditions", "")), c.err
}

// connect prepares the servers. Nothing is connected before the first lookup.
func (t *sqlTable) connect(c *client) error {
	if t.typ == "sqlite" {
		path := c.required("dbpath")
		if c.err != nil {
			return c.err
		}
		return t.addServer(path, path, nil)
	}
	var options []string
	set := func(option, key string) {
		if value := c.str(key, ""); value != "" {
			options = append(options, option+"="+value)
		}
	}
	set("user", "user")
	set("password", "password")
	hosts := postfix.SplitList(c.str("hosts", ""))
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	options = append(options, "dbname="+c.required("dbname"))
	if t.typ == "mysql" {
		set("ssl_cert", "tls_cert_file")
		set("ssl_key", "tls_key_file")
		set("ssl_ca", "tls_CAfile")
		set("ssl_ca_path", "tls_CApath")
		if c.str("tls_ciphers", "") != "" {
			t.o.warnf("mysql:%s: tls_ciphers is not supported by Dovetail, which uses secure ciphers only; remove it", t.name)
		}
		if c.yes("tls_verify_cert", false) {
			options = append(options, "ssl_verify_server_cert=yes")
		}
		if file := c.str("option_file", ""); file != "" {
			return fmt.Errorf("%s: option_file is not supported by Dovetail: write its settings into this file", t.name)
		}
	}
	if c.err != nil {
		return c.err
	}
	for _, h := range hosts {
		name, port := splitServer(h, t.typ)
		all := slices.Clone(options)
		if port != "" {
			all = append(all, "port="+port)
		}
		if err := t.addServer(h, name, all); err != nil {
			return err
		}
	}
	return nil
}

// splitServer splits an item of hosts.
func splitServer(host, typ string) (name, port string) {
	if path, ok := strings.CutPrefix(host, "unix:"); ok {
		return path, ""
	}
	if typ == "pgsql" && strings.HasPrefix(host, "postgresql://") {
		return host, ""
	}
	host = strings.TrimPrefix(host, "inet:")
	if strings.HasPrefix(host, "[") || strings.Count(host, ":") == 1 {
		return postfix.SplitHostPort(host)
	}
	return host, ""
}

func (t *sqlTable) addServer(host, name string, options []string) error {
	local := strings.HasPrefix(name, "/") || name == "localhost"
	if t.typ == "pgsql" && name == "localhost" && !strings.HasPrefix(host, "inet:") && host == "localhost" {
		name = "" // the library's own default, a socket
	}
	pool, err := sqldb.OpenServer(t.typ, name, options)
	if err != nil {
		return fmt.Errorf("%s:%s: %w", t.typ, t.name, err)
	}
	query, err := pool.ParseTemplate(t.statement, func(s string) int { return min(2, len(s)) })
	if err != nil {
		return fmt.Errorf("%s:%s: %w", t.typ, t.name, err)
	}
	if t.mustGiveRows {
		pool.NeedRows()
	}
	t.servers = append(t.servers, &sqlServer{host: host, local: local, pool: pool, query: query})
	return nil
}

// Close implements [Closer].
func (t *sqlTable) Close() error {
	for _, s := range t.servers {
		s.pool.Close()
	}
	return nil
}

// order returns the servers to ask: the one that answered last, then those of this machine, then the
// others, each kind in random order; without those that have just failed.
func (t *sqlTable) order() []*sqlServer {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*sqlServer
	for _, s := range t.servers {
		if s.down.IsZero() || time.Since(s.down) >= sqlRetry {
			list = append(list, s)
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	rank := func(s *sqlServer) int {
		switch {
		case s.used:
			return 0
		case s.local:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(a, b *sqlServer) int { return rank(a) - rank(b) })
	return list
}

func (t *sqlTable) mark(s *sqlServer, works bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.used, s.down = works, time.Time{}
	if !works {
		s.down = time.Now()
	}
}

// Lookup implements [Table].
func (t *sqlTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	key = t.o.fold(key)
	if wanted, err := t.wanted(ctx, key); err != nil || !wanted {
		return "", false, err
	}
	for _, s := range t.order() {
		values, err := t.ask(ctx, s, key)
		switch {
		case errors.Is(err, errTooMany):
			t.mark(s, true)
			quote := ":"
			if t.typ == "sqlite" {
				quote = ""
			}
			t.o.warnf("dict_%s_lookup: %s: Expansion limit exceeded for key%s '%s'", t.typ, t.name, quote, key)
			return "", false, fmt.Errorf("%s:%s: %w", t.typ, t.name, err)
		case errors.Is(err, sqldb.ErrUnsafe): // no server's fault
			t.o.warnf("%s:%s: put quotes around the macros of the query: %v", t.typ, t.name, err)
			return "", false, fmt.Errorf("%s:%s: %w", t.typ, t.name, err)
		case err == nil:
			t.mark(s, true)
			return strings.Join(values, ","), len(values) > 0, nil
		case ctx.Err() != nil:
			return "", false, fmt.Errorf("%s:%s: %w", t.typ, t.name, ctx.Err())
		}
		t.warn(s, err)
		if t.typ == "sqlite" {
			break // a file is not left alone: what is wrong in it can be mended at once
		}
		t.mark(s, false)
	}
	return "", false, fmt.Errorf("%s:%s: no server can answer", t.typ, t.name)
}

// warn tells in Postfix's words why a server does not answer.
func (t *sqlTable) warn(s *sqlServer, err error) {
	answer := s.pool.Answered(err)
	switch {
	case t.typ == "sqlite":
		t.o.warnf("dict_sqlite_lookup: %s: SQL prepare failed: %v", t.name, err)
	case t.typ == "mysql" && answer:
		t.o.warnf("mysql:%s: query failed: %v", t.name, err)
	case t.typ == "mysql":
		t.o.warnf("connect to mysql server %s: %v", s.host, err)
	case answer:
		t.o.warnf("pgsql query failed: fatal error from host %s: %v", s.host, err)
	default:
		t.o.warnf("connect to pgsql server %s: %v", s.host, err)
	}
}

// errTooMany is more values than expansion_limit.
var errTooMany = errors.New("expansion limit exceeded")

// ask asks one server.
func (t *sqlTable) ask(ctx context.Context, s *sqlServer, key string) (values []string, err error) {
	statement, params, err := s.query.Expand(func(template string) (string, error) {
		return expand(template, key, func(text string) string { return text }), nil
	})
	if err != nil {
		return nil, err
	}
	var tooMany bool
	err = s.pool.Query(ctx, statement, params, func(_ []string, row sqldb.Row) bool {
		if t.firstColumn {
			row = row[:1]
		}
		for _, column := range row {
			if column == nil {
				if t.typ != "pgsql" {
					continue
				}
				column = new(string) // libpq does not tell it from an empty text
			}
			values, _ = t.result(values, *column, key)
			if tooMany = limited(values, t.expansionLimit); tooMany {
				return false
			}
		}
		return true
	})
	if tooMany {
		return nil, errTooMany
	}
	return values, err
}
