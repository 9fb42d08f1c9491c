package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// pgParameter stands for a parameter in statements for PostgreSQL. No statement can hold it.
const pgParameter = "\x00"

// pgConnectTimeout is how long a server may take for a login, as in Dovecot, unless
// connect_timeout says otherwise.
const pgConnectTimeout = 5 * time.Second

// openPgSQL takes the connect string in libpq's notation.
func openPgSQL(host string, options []string) (*sql.DB, error) {
	if host != "" {
		options = append([]string{"host=" + host}, options...)
	}
	c, err := pgconn.ParseConfig(strings.Join(options, " "))
	if err != nil {
		return nil, fmt.Errorf("pgsql: %w", err)
	}
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "connect_timeout=") }) {
		c.ConnectTimeout = pgConnectTimeout
	}
	// What quoting of values relies on.
	c.RuntimeParams["client_encoding"] = "UTF8"
	c.RuntimeParams["standard_conforming_strings"] = "on"
	return sql.OpenDB(pgConnector{c}), nil
}

// pgConnector, pgConn and pgRows are the little of a database/sql driver that
// is needed to have values of parameters quoted. As parameters of PostgreSQL's own they would
// need types, which the statements of Dovecot's files do not have.
type pgConnector struct{ config *pgconn.Config }

// Connect implements [driver.Connector].
func (c pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := pgconn.ConnectConfig(ctx, c.config)
	if err != nil {
		return nil, err
	}
	return &pgConn{conn}, nil
}

// Driver implements [driver.Connector].
func (c pgConnector) Driver() driver.Driver { return pgDriver{} }

type pgDriver struct{}

// Open implements [driver.Driver].
func (pgDriver) Open(string) (driver.Conn, error) { return nil, errors.ErrUnsupported }

type pgConn struct{ *pgconn.PgConn }

var (
	_ driver.QueryerContext = (*pgConn)(nil)
	_ driver.Validator      = (*pgConn)(nil)
)

// Prepare implements [driver.Conn].
func (c *pgConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }

// Begin implements [driver.Conn].
func (c *pgConn) Begin() (driver.Tx, error) { return nil, errors.ErrUnsupported }

// Close implements [driver.Conn].
func (c *pgConn) Close() error { return c.PgConn.Close(context.Background()) }

// IsValid implements [driver.Validator].
func (c *pgConn) IsValid() bool { return !c.IsClosed() }

// QueryContext implements [driver.QueryerContext].
func (c *pgConn) QueryContext(ctx context.Context, statement string, args []driver.NamedValue) (driver.Rows, error) {
	text, err := c.quote(statement, args)
	if err != nil {
		return nil, err
	}
	results := c.Exec(ctx, text)
	if !results.NextResult() {
		err := results.Close()
		var answer *pgconn.PgError
		if c.IsClosed() && ctx.Err() == nil && !errors.As(err, &answer) {
			// The server had closed a connection that lay idle. A lookup may be
			// made once more, on another.
			err = driver.ErrBadConn
		}
		return &pgRows{}, err
	}
	r := &pgRows{results: results, r: results.ResultReader()}
	for _, f := range r.r.FieldDescriptions() {
		r.names = append(r.names, f.Name)
	}
	return r, nil
}

// quote puts the values into the statement.
func (c *pgConn) quote(statement string, args []driver.NamedValue) (string, error) {
	pieces := strings.Split(statement, pgParameter)
	if len(pieces) != len(args)+1 {
		return "", errors.New("pgsql: the statement has not as many parameters as values")
	}
	var b strings.Builder
	for i, piece := range pieces {
		b.WriteString(piece)
		if i == len(args) {
			break
		}
		value, _ := args[i].Value.(string)
		if binary, ok := args[i].Value.([]byte); ok {
			value = `\x` + hex.EncodeToString(binary)
		}
		if strings.Contains(value, "\x00") {
			return "", &pgconn.PgError{Severity: "ERROR", Code: "22021", Message: "value holds a NUL"}
		}
		// It checks the two settings.
		quoted, err := c.EscapeString(value)
		if err != nil {
			return "", err
		}
		b.WriteString("'" + quoted + "'")
	}
	return b.String(), nil
}

type pgRows struct {
	results *pgconn.MultiResultReader
	r       *pgconn.ResultReader
	names   []string
}

// Columns implements [driver.Rows].
func (r *pgRows) Columns() []string { return r.names }

// Close implements [driver.Rows].
func (r *pgRows) Close() error {
	if r.results == nil {
		return nil
	}
	return r.results.Close()
}

// Next implements [driver.Rows]. Values are as PostgreSQL writes them: true is "t".
func (r *pgRows) Next(dest []driver.Value) error {
	if r.r == nil || !r.r.NextRow() {
		return r.end()
	}
	for i, v := range r.r.Values() {
		dest[i] = nil
		if v != nil {
			dest[i] = string(v)
		}
	}
	return nil
}

// end tells what ended the rows.
func (r *pgRows) end() error {
	if r.r != nil {
		if _, err := r.r.Close(); err != nil {
			return err
		}
	}
	return io.EOF
}

// isPgSQLAnswer tells errors of a statement from those of the connection.
func isPgSQLAnswer(err error) bool {
	var e *pgconn.PgError
	var connect *pgconn.ConnectError
	if !errors.As(err, &e) || errors.As(err, &connect) {
		return false
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "28", "53", "57", "3D": // connection, authorization, resources, intervention, no such database
		return false
	}
	return true
}
