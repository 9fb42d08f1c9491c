package sqldb

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

var (
	mysqlDialect  = &dialect{doubleQuotes: true, backslash: true, parameter: "?"}
	pgsqlDialect  = &dialect{parameter: pgParameter}
	sqliteDialect = &dialect{parameter: "?"}
)

// expandAs expands variables for a user.
func expandAs(user string) func(string) (string, error) {
	name, domain, _ := strings.Cut(user, "@")
	vars := &dovecot.Vars{Table: []dovecot.Var{
		{Key: 'u', Name: "user", Value: user}, {Key: 'n', Name: "username", Value: name}, {Key: 'd', Name: "domain", Value: domain},
	}}
	return func(template string) (string, error) { return dovecot.ExpandVars(template, vars) }
}

// The texts with variables become parameters, whatever their content.
func TestQuery(t *testing.T) {
	const attack = `x' OR '1'='1@evil"; DROP TABLE users; --`
	for _, tt := range []struct {
		dialect   *dialect
		template  string
		user      string
		statement string
		values    []any
	}{
		{mysqlDialect, "SELECT p FROM u WHERE n = '%n' AND d = '%d'", "a@b", "SELECT p FROM u WHERE n = ? AND d = ?", []any{"a", "b"}},
		{mysqlDialect, "SELECT p FROM u WHERE n = '%u'", attack, "SELECT p FROM u WHERE n = ?", []any{attack}},
		{mysqlDialect, `SELECT p FROM u WHERE n = "%Lu" OR n LIKE 'x\'%%%n'`, "A@b", `SELECT p FROM u WHERE n = ? OR n LIKE ?`, []any{"a@b", "x'%A"}},
		{mysqlDialect, `SELECT 'a\'b', "c" FROM %d WHERE x='%{if;%n;eq;it"s;yes;no}'`, "a@b", `SELECT 'a\'b', "c" FROM b WHERE x=?`, []any{"no"}},
		{mysqlDialect, `WHERE x LIKE 'a\_\%%n'`, "a@b", `WHERE x LIKE ?`, []any{`a\_\%n`}},
		{mysqlDialect, "SELECT `%n` FROM t_%d", "a@b", "SELECT `a` FROM t_b", nil},
		{sqliteDialect, `SELECT "%n", 'it''s %n' /* 'not' %n */`, "a@b", `SELECT "a", ? /* 'not' %n */`, []any{"it's a"}},
		{pgsqlDialect, `SELECT 'back\%n' WHERE n = '%u' AND q = 'plain'`, "a@b", "SELECT \x00 WHERE n = \x00 AND q = 'plain'", []any{`back\a`, "a@b"}},
		{pgsqlDialect, `SELECT '100%%' -- it's`, "a@b", "SELECT \x00 -- it's", []any{"100%"}},
		{mysqlDialect, "SELECT 10 %% 3", "a@b", "SELECT 10 % 3", nil},
	} {
		q, err := parse(tt.dialect, tt.template)
		if err != nil {
			t.Errorf("%s: %v", tt.template, err)
			continue
		}
		statement, values, err := q.Expand(expandAs(tt.user))
		if err != nil || statement != tt.statement || !reflect.DeepEqual(values, tt.values) {
			t.Errorf("%s:\n%q %q %v, want\n%q %q", tt.template, statement, values, err, tt.statement, tt.values)
		}
	}
}

// Outside of quotes only harmless values are taken.
func TestUnsafeValue(t *testing.T) {
	q, err := parse(mysqlDialect, "SELECT p FROM users_%d WHERE id = %n")
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"1 OR 1=1@a", "1@a;b", "1@a b", "1@a--", "1@--a", "x'@a", "1@a`b", "1@a\x00", "é@a"} {
		if statement, _, err := q.Expand(expandAs(user)); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%q: %s, %v", user, statement, err)
		}
	}
	if statement, _, err := q.Expand(expandAs("17@example.org")); err != nil || statement != "SELECT p FROM users_example.org WHERE id = 17" {
		t.Error(statement, err)
	}
}

// A statement that cannot be taken apart safely is refused at start.
func TestBadQuery(t *testing.T) {
	for _, template := range []string{"SELECT 'x", "SELECT /* x", "SELECT E'%u'", "SELECT 1 -- '%u'", "SELECT N'%u'"} {
		if _, err := parse(pgsqlDialect, template); err == nil {
			t.Errorf("%s was taken", template)
		}
	}
}

// FuzzQuery checks that no value changes the statement: it is the same for a harmless
// user and for any other, but for variables outside of quotes, which are refused.
func FuzzQuery(f *testing.F) {
	f.Add("SELECT p FROM u WHERE n = '%n' AND d = \"%d\" AND i = %u", "a'b@c")
	f.Add(`'\'%u'`, `\`)
	f.Add("`%u` /* '%u' */ '%{if;%n;==;a;b;c}'", "a`b")
	f.Fuzz(func(t *testing.T, template, user string) {
		for _, d := range []*dialect{mysqlDialect, pgsqlDialect, sqliteDialect} {
			q, err := parse(d, template)
			if err != nil {
				continue
			}
			words := 0
			for _, p := range q.parts {
				if p.kind == partWord {
					words++
				}
			}
			harmless, n, err := q.Expand(expandAs("a"))
			if err != nil || words > 0 {
				continue
			}
			got, m, err := q.Expand(expandAs(user))
			if err != nil {
				continue
			}
			if got != harmless || len(n) != len(m) {
				t.Errorf("%q with %q: %q, with a: %q", template, user, got, harmless)
			}
		}
	})
}
