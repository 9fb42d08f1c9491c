package db

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/sqldb"
)

// A one-time password that the database did not replace must not count.
func TestSetCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.sqlite")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pool, err := sqldb.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	_, err = pool.Update(t.Context(), []sqldb.Statement{
		{Text: "CREATE TABLE users (name TEXT, password TEXT)"}, {Text: "INSERT INTO users VALUES ('alice', 'old')"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &sqlDB{pool: pool}
	if s.update.Query, err = pool.Parse("UPDATE users SET password = '%w' WHERE name = '%u'"); err != nil {
		t.Fatal(err)
	}
	r := &Request{User: "alice", Password: "tried"}
	if err := s.SetCredentials(t.Context(), r, "{OTP}new"); err != nil || r.Password != "tried" {
		t.Errorf("%v, the password tried is %q", err, r.Password)
	}
	if err := s.SetCredentials(t.Context(), &Request{User: "nobody"}, "{OTP}new"); err == nil || !strings.Contains(err.Error(), "changed no row") {
		t.Errorf("a user who is not there: %v", err)
	}
	var stored []string
	query, err := pool.Parse("SELECT password FROM users")
	if err != nil {
		t.Fatal(err)
	}
	statement, values, err := query.Expand(func(s string) (string, error) { return s, nil })
	if err == nil {
		err = pool.Query(t.Context(), statement, values, func(_ []string, row sqldb.Row) bool {
			stored = append(stored, *row[0])
			return true
		})
	}
	if err != nil || len(stored) != 1 || stored[0] != "{OTP}new" {
		t.Errorf("stored are %q, %v", stored, err)
	}
}
