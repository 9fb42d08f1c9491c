package ext

import "fmt"

// SQL is a dovecot-sql.conf.ext.
type SQL struct {
	Driver               *string `set:"driver" doc:"mysql, pgsql, sqlite or cassandra"`
	Connect              *string `set:"connect" doc:"where the database is, in the driver's notation"`
	PasswordQuery        string  `set:"password_query" default:"SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'" doc:"query of a passdb lookup"`
	UserQuery            string  `set:"user_query" default:"SELECT home, uid, gid FROM users WHERE username = '%n' AND domain = '%d'" doc:"query of a userdb lookup"`
	UpdateQuery          string  `set:"update_query" default:"UPDATE users SET password = '%w' WHERE username = '%n' AND domain = '%d'" doc:"statement that sets a password"`
	IterateQuery         string  `set:"iterate_query" default:"SELECT username, domain FROM users" doc:"query that lists all users"`
	DefaultPassScheme    string  `set:"default_pass_scheme" default:"MD5" doc:"scheme of passwords without a {SCHEME} prefix"`
	UserdbWarningDisable bool    `set:"userdb_warning_disable" doc:"do not warn of queries for a userdb that is not there"`
}

// LoadSQL reads and checks the file of a passdb or userdb with driver sql.
func LoadSQL(files Files, path string, warn func(text string)) (*SQL, error) {
	s := &SQL{}
	if err := Load(files, path, s, warn); err != nil {
		return nil, fmt.Errorf("sql %s: %w", path, err)
	}
	switch {
	case s.Driver == nil:
		return nil, fmt.Errorf("sql: driver not set in configuration file %s", path)
	case s.Connect == nil:
		return nil, fmt.Errorf("sql: connect string not set in configuration file %s", path)
	}
	return s, nil
}

// SQLDefaults returns the settings of a file that sets nothing.
func SQLDefaults() *SQL {
	s := &SQL{}
	setDefaults(s)
	return s
}
