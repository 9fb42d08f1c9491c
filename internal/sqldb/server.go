package sqldb

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// OpenServer returns the pool of one server, whose options are given one by one, as
// name=value: values may hold blanks. For sqlite, name is the path of the file.
func OpenServer(driver, name string, options []string) (*Pool, error) {
	if driver == "sqlite" {
		return Open(driver, name)
	}
	p, err := Open(driver, "")
	if err != nil {
		return nil, err
	}
	p.Close() // nothing was connected
	var db *sql.DB
	switch driver {
	case "mysql":
		db, err = openMySQL(name, options)
	case "pgsql":
		if strings.HasPrefix(name, "postgresql://") {
			db, err = openPgSQL("", []string{name}) // which has all options itself
			break
		}
		quoted := make([]string, 0, len(options)+1)
		if name != "" {
			options = append([]string{"host=" + name}, options...)
		}
		for _, o := range options {
			name, value, _ := strings.Cut(o, "=")
			quoted = append(quoted, fmt.Sprintf("%s='%s'", name, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value)))
		}
		db, err = openPgSQL("", quoted)
	}
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(idleTime)
	p.hosts = []*host{{db: db}}
	return p, nil
}

// ParseTemplate is [Pool.Parse] for a statement with variables of another kind than Dovecot's. cut
// returns the length of the one at the beginning of a text.
func (p *Pool) ParseTemplate(statement string, cut func(string) int) (*Query, error) {
	d := *p.d
	d.cut = cut
	return parse(&d, statement)
}

// NeedRows makes a statement that has no result set an error.
func (p *Pool) NeedRows() {
	for _, h := range p.hosts {
		h.needRows = true
	}
}

var errNoResult = errors.New("query returned no result set")

// An answer is the message of a database about a statement.
type answer string

func (a answer) Error() string { return string(a) }

// Answered reports whether an error of [Pool.Query] is the database's own word about the statement, and
// not that it cannot be reached.
func (p *Pool) Answered(err error) bool {
	var a answer
	return errors.As(err, &a) || errors.Is(err, errNoResult) || p.answered(err)
}
