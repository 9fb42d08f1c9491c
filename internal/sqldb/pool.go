package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	maxConns     = 5                // to one host, as Dovecot's
	idleTime     = 60 * time.Second // after which a connection that nobody uses is closed
	queryTimeout = 60 * time.Second
	firstPause   = 1 * time.Second // how long a host is left out that failed
	longestPause = 30 * time.Second
	maxRows      = 10_000_000 // of one answer; more is a mistake
)

// A Pool is the hosts of one database. Its methods may be called concurrently.
type Pool struct {
	d     *dialect
	hosts []*host
	next  atomic.Uint32

	// answered reports whether err is the database's own word about a statement: then
	// another host would say the same.
	answered func(err error) bool
}

// A host is one server of a database.
type host struct {
	name string
	db   *sql.DB
	// needRows makes a statement without a result set an error.
	needRows bool
	free     chan struct{} // a place for each query that may run; nil for any number

	mu    sync.Mutex
	pause time.Duration // the last one; 0 if it works
	until time.Time     // when it may be tried again
}

// open makes the driver's handle of a host; it does not connect. name is empty
// where the connect string names none.
type open func(name string, options []string) (*sql.DB, error)

// Open returns the pool of a database. Nothing is connected before the first query.
// Errors are those of the connect string, in Dovecot's words.
func Open(driver, connect string) (*Pool, error) {
	switch driver {
	case "mysql":
		return openHosts(connect, openMySQL, &dialect{doubleQuotes: true, backslash: true, parameter: "?"}, isMySQLAnswer)
	case "pgsql":
		return openHosts(connect, openPgSQL, &dialect{parameter: pgParameter}, isPgSQLAnswer)
	case "sqlite":
		db, err := openSQLite(connect)
		if err != nil {
			return nil, err
		}
		return &Pool{d: &dialect{parameter: "?"}, hosts: []*host{{name: connect, db: db}}, answered: isSQLiteAnswer}, nil
	case "cassandra":
		return nil, errors.New("sql: database driver 'cassandra' is not supported by Dovetail; use mysql, pgsql or sqlite")
	}
	return nil, fmt.Errorf("sql: Unknown database driver '%s'", driver)
}

// openHosts reads a connect string, in which each host= is one more server, and
// maxconns= the number of connections to each.
func openHosts(connect string, open open, d *dialect, answered func(error) bool) (*Pool, error) {
	p := &Pool{d: d, answered: answered}
	limit := maxConns
	var names, options []string
	for word := range strings.FieldsSeq(connect) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "maxconns":
			if _, err := fmt.Sscan(value, &limit); err != nil || limit < 1 {
				return nil, fmt.Errorf("Invalid value for maxconns: %s", value)
			}
		case "host":
			names = append(names, value)
		default:
			options = append(options, word)
		}
	}
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		db, err := open(name, options)
		if err != nil {
			p.Close()
			return nil, err
		}
		db.SetMaxOpenConns(limit)
		db.SetMaxIdleConns(limit)
		db.SetConnMaxIdleTime(idleTime)
		p.hosts = append(p.hosts, &host{name: name, db: db, free: make(chan struct{}, limit)})
	}
	return p, nil
}

// Close closes the connections.
func (p *Pool) Close() {
	for _, h := range p.hosts {
		h.db.Close()
	}
}

// A Row is the columns of a row. Those that are NULL are nil.
type Row []*string

// Query runs a statement and calls fn with the names of the columns and each row
// until it returns false. A host that cannot be reached is left out, and the
// statement given to the next, as long as no row was read.
func (p *Pool) Query(ctx context.Context, statement string, values []any, fn func(columns []string, row Row) bool) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	hosts := p.order()
	if len(hosts) == 0 {
		return errNoHost
	}
	var err error
	for _, h := range hosts {
		var begun bool
		if err = h.enter(ctx); err != nil {
			return err
		}
		if !h.mayTry(time.Now(), len(p.hosts) == 1) {
			h.leave()
			err = errNoHost // it failed while we waited
			continue
		}
		begun, err = h.query(ctx, statement, values, fn)
		h.leave()
		if err == nil || p.answered(err) {
			h.succeeded()
			return plain(err)
		}
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			h.failed(time.Now())
		}
		if h.name != "" {
			err = fmt.Errorf("%s: %w", h.name, err)
		}
		if begun || ctx.Err() != nil {
			break
		}
	}
	return err
}

// plain leaves out what drivers put before the database's message.
func plain(err error) error {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return answer(e.Message)
	}
	return err
}

// order returns the hosts to try: each time another one first, without those
// left out. A host of which there is no other is not left out for long.
func (p *Pool) order() []*host {
	first := int(p.next.Add(1))
	now := time.Now()
	list := make([]*host, 0, len(p.hosts))
	for i := range p.hosts {
		if h := p.hosts[(first+i)%len(p.hosts)]; h.mayTry(now, len(p.hosts) == 1) {
			list = append(list, h)
		}
	}
	return list
}

// enter waits for a place. Without it all who wait would each find out for themselves
// that the host does not answer, one after the other.
func (h *host) enter(ctx context.Context) error {
	if h.free == nil {
		return nil
	}
	select {
	case h.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *host) leave() {
	if h.free != nil {
		<-h.free
	}
}

// mayTry reports whether the host works, or has been left out long enough.
func (h *host) mayTry(now time.Time, only bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	until := h.until
	if only {
		until = until.Add(firstPause - h.pause)
	}
	return h.pause == 0 || !now.Before(until)
}

func (h *host) succeeded() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pause = 0
}

// failed leaves the host out, each time for twice as long. Several queries that fail
// at once count as one.
func (h *host) failed(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pause != 0 && now.Before(h.until) {
		return
	}
	h.pause = min(max(2*h.pause, firstPause), longestPause)
	h.until = now.Add(h.pause)
}

// query runs a statement on the host. begun tells whether fn was called.
func (h *host) query(ctx context.Context, statement string, values []any, fn func([]string, Row) bool) (begun bool, err error) {
	rows, err := h.db.QueryContext(ctx, statement, values...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return false, err
	}
	if h.needRows && len(columns) == 0 {
		return false, errNoResult
	}
	row := make(Row, len(columns))
	targets := make([]any, len(columns))
	for i := range row {
		targets[i] = &row[i]
	}
	for n := 0; rows.Next(); n++ {
		if n == maxRows {
			return true, fmt.Errorf("the answer has more than %d rows", maxRows)
		}
		if err := rows.Scan(targets...); err != nil {
			return true, err
		}
		begun = true
		if !fn(columns, row) {
			return true, nil
		}
	}
	return begun, rows.Err()
}
