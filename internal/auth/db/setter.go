package db

import (
	"context"
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

// SetCredentials implements [Setter] with update_query.
func (s *sqlDB) SetCredentials(ctx context.Context, r *Request, stored string) error {
	tried := r.Password
	r.Password = stored // %w
	defer func() { r.Password = tried }()
	err := s.query(ctx, r, &s.update, func([]string, sqldb.Row) bool { return false })
	if err != nil {
		return fmt.Errorf("Set credentials query failed: %w%s", err, s.update.builtIn)
	}
	return nil
}

var _ Setter = (*sqlDB)(nil)
