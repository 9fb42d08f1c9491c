package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// A Statement is one with its values. [Pool.Parameter] stands in it for each.
type Statement struct {
	Text   string
	Values []any // strings, and []byte for what is not text
}

// Parameter is what stands for a value in statements for this database.
func (p *Pool) Parameter() string { return p.d.parameter }

var errNoHost = errors.New("no database host can be reached, all are left out for a while after failures")

// Update runs statements in one transaction and returns how many rows each has
// changed. After an error it is not known whether they count if the error is of the
// connection; they are not tried again.
func (p *Pool) Update(ctx context.Context, statements []Statement) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err := errNoHost
	for _, h := range p.order() {
		var conn *sql.Conn
		if conn, err = h.db.Conn(ctx); err != nil {
			if ctx.Err() == nil {
				h.failed(time.Now())
			}
			err = h.named(err)
			continue
		}
		rows, err := update(ctx, conn, statements)
		conn.Close()
		switch {
		case err == nil:
			h.succeeded()
			return rows, nil
		case p.answered(err):
			h.succeeded()
			return nil, plain(err)
		}
		h.failed(time.Now())
		return nil, h.named(err)
	}
	return nil, err
}

// named says of which host an error is.
func (h *host) named(err error) error {
	if h.name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", h.name, err)
}

func update(ctx context.Context, conn *sql.Conn, statements []Statement) ([]int64, error) {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // of no effect after Commit
	rows := make([]int64, len(statements))
	for i, s := range statements {
		result, err := tx.ExecContext(ctx, s.Text, s.Values...)
		if err != nil {
			return nil, err
		}
		if rows[i], err = result.RowsAffected(); err != nil {
			return nil, err
		}
	}
	return rows, tx.Commit()
}
