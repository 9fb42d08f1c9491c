package sqldb

import (
	"database/sql"
	"errors"
	"net/url"

	"modernc.org/sqlite" // also registers the driver
	sqlite3 "modernc.org/sqlite/lib"
)

// openSQLite takes the path of the file. A file that is missing is an error, and not
// made: an empty database has no users.
func openSQLite(path string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	u.RawQuery = "mode=rw&_pragma=busy_timeout(1000)"
	return sql.Open("sqlite", u.String())
}

// isSQLiteAnswer tells errors of a statement from those of the file.
func isSQLiteAnswer(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}
