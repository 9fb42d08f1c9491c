package sqldb

import (
	"context"
	"database/sql/driver"
)

var (
	_ driver.ConnBeginTx   = (*pgConn)(nil)
	_ driver.ExecerContext = (*pgConn)(nil)
)

// BeginTx implements [driver.ConnBeginTx].
func (c *pgConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if _, err := c.ExecContext(ctx, "BEGIN", nil); err != nil {
		return nil, err
	}
	return pgTx{ctx, c}, nil
}

// pgTx is a transaction.
type pgTx struct {
	ctx  context.Context
	conn *pgConn
}

// Commit implements [driver.Tx].
func (t pgTx) Commit() error {
	_, err := t.conn.ExecContext(t.ctx, "COMMIT", nil)
	return err
}

// Rollback implements [driver.Tx].
func (t pgTx) Rollback() error {
	_, err := t.conn.ExecContext(context.WithoutCancel(t.ctx), "ROLLBACK", nil)
	return err
}

// ExecContext implements [driver.ExecerContext].
func (c *pgConn) ExecContext(ctx context.Context, statement string, args []driver.NamedValue) (driver.Result, error) {
	text, err := c.quote(statement, args)
	if err != nil {
		return nil, err
	}
	var rows int64
	results, err := c.Exec(ctx, text).ReadAll()
	for _, r := range results {
		rows += r.CommandTag.RowsAffected()
	}
	return driver.RowsAffected(rows), err
}
