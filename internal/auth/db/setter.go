package db

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/sqldb"
)

// A Setter is a Fetcher that can replace what it has stored, as one-time passwords
// need it.
type Setter interface {
	Fetcher

	// SetCredentials stores "{SCHEME}data" for the user of the request.
	SetCredentials(ctx context.Context, req *Request, stored string) error
}

// SetCredentials implements [Setter] with update_query. A query that changes nothing is an error: the
// password would be good once more.
func (s *sqlDB) SetCredentials(ctx context.Context, r *Request, stored string) error {
	tried := r.Password
	r.Password = stored // %w
	defer func() { r.Password = tried }()
	statement, values, err := s.update.Expand(r.Expand)
	var rows []int64
	if err == nil {
		rows, err = s.pool.Update(ctx, []sqldb.Statement{{Text: statement, Values: values}})
	}
	if err == nil && rows[0] == 0 {
		err = errors.New("it has changed no row")
	}
	if err != nil {
		return fmt.Errorf("Set credentials query failed: %w%s", err, s.update.builtIn)
	}
	return nil
}

var _ Setter = (*sqlDB)(nil)
