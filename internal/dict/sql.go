package dict

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/sqldb"
)

// A sqlDict is the drivers mysql, pgsql and sqlite: the maps of a file such as
// dovecot-dict-sql.conf.ext say in which columns keys and values are.
type sqlDict struct {
	name string // of the database's driver
	pool *sqldb.Pool
	maps []ext.SQLMap
}

// openSQL makes the driver for one kind of database.
func openSQL(name string) driver {
	return func(env *Env, path string) (Dict, error) {
		warn := env.Warn
		if warn == nil {
			warn = func(string) {}
		}
		set, err := ext.LoadDictSQL(env.Files, path, warn)
		if err != nil {
			return nil, err
		}
		pool, err := sqldb.Open(name, *set.Connect)
		if err != nil {
			return nil, err
		}
		return &sqlDict{name, pool, set.Maps}, nil
	}
}

// Close implements [Dict].
func (d *sqlDict) Close() error {
	d.pool.Close()
	return nil
}

// find returns the map of a key, and what its variables stand for.
func (d *sqlDict) find(key string) (m *ext.SQLMap, values []string) {
	for i := range d.maps {
		if values, ok := matchKey(d.maps[i].Keys, key); ok {
			return &d.maps[i], values
		}
	}
	return nil, nil
}

// A sqlText is a statement being written.
type sqlText struct {
	strings.Builder
	parameter string
	values    []any
}

func (d *sqlDict) begin(text string) *sqlText {
	s := &sqlText{parameter: d.pool.Parameter()}
	s.WriteString(text)
	return s
}

// bind writes a parameter.
func (s *sqlText) bind(value any) {
	s.WriteString(s.parameter)
	s.values = append(s.values, value)
}

// typed returns a value as the type of its column has it.
func typed(f *ext.SQLField, value, pattern string) (any, error) {
	wrong := func(what string) error {
		return fmt.Errorf("%s field's value isn't %s: %s (in pattern: %s)", f.Name, what, value, pattern)
	}
	switch f.Type {
	case "int":
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return nil, wrong("64bit signed integer")
		}
	case "uint":
		if _, err := strconv.ParseInt(value, 10, 64); err != nil || value[0] == '-' {
			return nil, wrong("64bit unsigned integer")
		}
	case "hexblob":
		binary, err := hex.DecodeString(value)
		if err != nil {
			return nil, wrong("hexblob")
		}
		return binary, nil
	}
	return value, nil
}

// where writes the condition for a key. More holds the last one of an iteration.
func (s *sqlText) where(m *ext.SQLMap, values []string, user User, key string, more func(and string) error) error {
	and := " WHERE "
	for i, value := range values {
		bound, err := typed(&m.Fields[i], value, *m.Pattern)
		if err != nil {
			return err
		}
		s.WriteString(and + m.Fields[i].Name + " = ")
		s.bind(bound)
		and = " AND "
	}
	if more != nil {
		if err := more(and); err != nil {
			return err
		}
		and = " AND "
	}
	if strings.HasPrefix(key, Private) {
		s.WriteString(and + m.UsernameField + " = ")
		s.bind(user.Name)
	}
	return nil
}

// text returns a column as the dictionary has it.
func (d *sqlDict) text(f *ext.SQLField, column *string) string {
	switch {
	case column == nil:
		return ""
	case f.Type != "hexblob":
		return *column
	}
	if binary, ok := strings.CutPrefix(*column, `\x`); ok && d.name == "pgsql" {
		return binary
	}
	return hex.EncodeToString([]byte(*column))
}

// Lookup implements [Dict].
func (d *sqlDict) Lookup(ctx context.Context, user User, key string) (string, error) {
	m, values := d.find(key)
	if m == nil {
		return "", fmt.Errorf("sql dict lookup: Invalid/unmapped key: %s", key)
	}
	s := d.begin("SELECT " + *m.ValueField + " FROM " + *m.Table)
	if err := s.where(m, values, user, key, nil); err != nil {
		return "", fmt.Errorf("sql dict lookup: Failed to lookup key %s: %w", key, err)
	}
	value, found := "", false
	err := d.pool.Query(ctx, s.String(), s.values, func(_ []string, row sqldb.Row) bool {
		if found = row[0] != nil; found { // NULL is as good as no row
			value = d.text(&m.Values[0], row[0])
		}
		return false
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("dict sql lookup failed: %w", err)
	case !found:
		return "", ErrNotFound
	}
	return value, nil
}

// Iterate implements [Iterator].
func (d *sqlDict) Iterate(ctx context.Context, user User, q Query, fn func(key, value string) bool) error {
	fail := func(err error) error { return fmt.Errorf("sql dict iterate failed for %s: %w", q.Prefix, err) }
	mapped, more := false, true
	for i := range d.maps {
		m := &d.maps[i]
		p, ok := matchPrefix(m.Keys, q.Prefix, q.Recurse)
		if !ok || !more {
			continue
		}
		mapped = true
		s, err := d.iteration(m, p, user, &q)
		if err != nil {
			return fail(err)
		}
		err = d.pool.Query(ctx, s.String(), s.values, func(_ []string, row sqldb.Row) bool {
			key := p.key(func(n int) string {
				return d.text(&m.Fields[p.first+n], row[len(m.Values)+n])
			})
			more = fn(key, d.text(&m.Values[0], row[0]))
			return more
		})
		if err != nil {
			return fmt.Errorf("dict sql iterate failed: %w", err)
		}
	}
	if !mapped {
		return fail(errors.New("Invalid/unmapped path"))
	}
	return nil
}

// iteration returns the statement that lists the keys of a map below a prefix.
func (d *sqlDict) iteration(m *ext.SQLMap, p *prefixMatch, user User, q *Query) (*sqlText, error) {
	s := d.begin("SELECT " + *m.ValueField)
	for _, f := range m.Fields[p.first:] {
		s.WriteString("," + f.Name)
	}
	s.WriteString(" FROM " + *m.Table)
	var more func(string) error
	if last := p.first; last < len(m.Fields) && (p.partial != "" || !q.Recurse) {
		name := m.Fields[last].Name
		more = func(and string) error {
			below := ""
			if p.partial != "" {
				below = escapeLike(p.partial) + "/"
			}
			s.WriteString(and + name + " LIKE ")
			s.bind(below + "%")
			s.WriteString(" ESCAPE '|'")
			if !q.Recurse {
				s.WriteString(" AND " + name + " NOT LIKE ")
				s.bind(below + "%/%")
				s.WriteString(" ESCAPE '|'")
			}
			return nil
		}
	}
	return s, s.where(m, p.values, user, q.Prefix, more)
}

// escapeLike makes text that LIKE takes as it is.
func escapeLike(text string) string {
	return strings.NewReplacer("|", "||", "%", "|%", "_", "|_").Replace(text)
}

// Commit implements [Committer].
func (d *sqlDict) Commit(ctx context.Context, user User, changes []Change) error {
	statements := make([]sqldb.Statement, 0, len(changes))
	for i := range changes {
		s, err := d.change(user, &changes[i])
		if err != nil {
			return err
		}
		statements = append(statements, sqldb.Statement{Text: s.String(), Values: s.values})
	}
	rows, err := d.pool.Update(ctx, statements)
	if err != nil {
		return fmt.Errorf("sql dict: commit failed: %w", err)
	}
	for i, n := range rows {
		if changes[i].Kind == AtomicInc && n == 0 {
			return ErrNotFound
		}
	}
	return nil
}

// change returns the statement of one change.
func (d *sqlDict) change(user User, c *Change) (*sqlText, error) {
	m, values := d.find(c.Key)
	if m == nil {
		return nil, fmt.Errorf("dict-sql: Invalid/unmapped key: %s", c.Key)
	}
	column := m.Values[0].Name
	var s *sqlText
	var err error
	switch c.Kind {
	case Set:
		if s, err = d.insert(m, values, user, c); err != nil {
			err = fmt.Errorf("dict-sql: Failed to set %s: %w", c.Key, err)
		}
	case Unset:
		s = d.begin("DELETE FROM " + *m.Table)
		if err = s.where(m, values, user, c.Key, nil); err != nil {
			err = fmt.Errorf("dict-sql: Failed to delete %s: %w", c.Key, err)
		}
	case AtomicInc:
		s = d.begin("UPDATE " + *m.Table + " SET " + column + "=" + column + "+(" + strconv.FormatInt(c.Diff, 10) + ")")
		if err = s.where(m, values, user, c.Key, nil); err != nil {
			err = fmt.Errorf("dict-sql: Failed to increase %s: %w", c.Key, err)
		}
	}
	return s, err
}

// insert sets a row, whether it is there or not. What the key names must be the row's
// primary key, or be unique.
func (d *sqlDict) insert(m *ext.SQLMap, values []string, user User, c *Change) (*sqlText, error) {
	value, err := typed(&m.Values[0], c.Value, *m.Pattern)
	if err != nil {
		return nil, err
	}
	columns, bound := []string{m.Values[0].Name}, []any{value}
	var unique []string
	for i, v := range values {
		if v, err := typed(&m.Fields[i], v, *m.Pattern); err != nil {
			return nil, err
		} else {
			unique, bound = append(unique, m.Fields[i].Name), append(bound, v)
		}
	}
	if strings.HasPrefix(c.Key, Private) {
		unique, bound = append(unique, m.UsernameField), append(bound, user.Name)
	}
	columns = append(columns, unique...)
	s := d.begin("INSERT INTO " + *m.Table + " (" + strings.Join(columns, ",") + ") VALUES (")
	for i, v := range bound {
		if i > 0 {
			s.WriteByte(',')
		}
		s.bind(v)
	}
	if d.name == "mysql" {
		s.WriteString(") ON DUPLICATE KEY UPDATE ")
	} else {
		s.WriteString(") ON CONFLICT (" + strings.Join(unique, ",") + ") DO UPDATE SET ")
	}
	s.WriteString(columns[0] + "=")
	s.bind(value)
	return s, nil
}
