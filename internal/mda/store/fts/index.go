package fts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite" // also registers the driver
	sqlite3 "modernc.org/sqlite/lib"
)

// Name is the name of the file.
const Name = "dovecot.index.fts"

// version is that of the tables and of the words. A file of another one is made anew.
const version = 1

// lockWait is how long SQLite itself waits for a lock. After that the caller is asked whether
// it still wants to.
const lockWait = 100 * time.Millisecond

var tables = []string{
	`CREATE TABLE meta(version INTEGER NOT NULL, uidvalidity INTEGER NOT NULL, last INTEGER NOT NULL)`,
	`CREATE TABLE term(id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE)`,
	`CREATE VIRTUAL TABLE part USING fts5(word, content='', tokenize='trigram case_sensitive 1')`,
	`CREATE VIRTUAL TABLE message USING fts5(` + strings.Join(columns[:], ",") + `, content='', contentless_delete=1, detail=column, tokenize='ascii')`,
	`CREATE TABLE unread(uid INTEGER PRIMARY KEY)`,
}

// An Index is the open full-text index of a mailbox, for one goroutine.
type Index struct {
	path string
	db   *sql.DB
	ctx  context.Context //nolint:containedctx // an Index lives as long as one search
	last uint32
}

var (
	// errStale is about a file of another version or mailbox.
	errStale = errors.New("full-text index is of another mailbox or version")
	// errNone is about a file that is not there, or not finished.
	errNone = errors.New("there is no full-text index")
)

// Open opens the index of the mailbox with the given uidvalidity in the directory of its index files, and
// makes it if it is not there. A file that is of no use is replaced.
func Open(ctx context.Context, dir string, uidValidity, uidNext uint32) (*Index, error) {
	path := filepath.Join(dir, Name)
	ix, err := open(ctx, path, uidValidity, uidNext)
	if err == nil || !useless(err) {
		return ix, err
	}
	if !errors.Is(err, errNone) {
		if err := Remove(dir); err != nil {
			return nil, err
		}
	}
	return create(ctx, path, uidValidity)
}

// useless reports whether only a new file helps.
func useless(err error) bool {
	if errors.Is(err, errStale) || errors.Is(err, errNone) {
		return true
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR: // an error is a table that is missing
		return true
	}
	return false
}

// Damaged reports whether an error says that the file is damaged: it is to be removed.
func Damaged(err error) bool { return useless(err) }

// isBusy reports whether another process has the file locked.
func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// Remove removes the index of the mailbox whose index files are in dir.
func Remove(dir string) error {
	for _, suffix := range []string{"", "-journal"} {
		if err := os.Remove(filepath.Join(dir, Name+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func connect(ctx context.Context, path string) (*Index, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	u.RawQuery = fmt.Sprintf("mode=rw&_txlock=immediate&_pragma=busy_timeout(%d)&_pragma=cache_size(-4096)&_pragma=synchronous(normal)", lockWait.Milliseconds())
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return &Index{path: path, db: db, ctx: ctx}, nil
}

func open(ctx context.Context, path string, uidValidity, uidNext uint32) (*Index, error) {
	switch st, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNone
	case err != nil:
		return nil, err
	case st.Size() == 0:
		return nil, errNone
	}
	ix, err := connect(ctx, path)
	if err != nil {
		return nil, err
	}
	err = ix.wait(ctx, func() error {
		var v, validity int64
		err := ix.db.QueryRowContext(ctx, "SELECT version, uidvalidity, last FROM meta").Scan(&v, &validity, &ix.last)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return errStale
		case err == nil && (v != version || validity != int64(uidValidity) || ix.last >= uidNext && ix.last > 0):
			return errStale
		}
		return err
	})
	if err != nil {
		ix.Close()
		return nil, ix.failed("open", err)
	}
	return ix, nil
}

// create makes the tables, unless another process was faster.
func create(ctx context.Context, path string, uidValidity uint32) (*Index, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, modeBeside(path))
	if err != nil {
		return nil, err
	}
	f.Close() //nolint:errcheck // nothing was written
	ix, err := connect(ctx, path)
	if err != nil {
		return nil, err
	}
	err = ix.change(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").Scan(&n); err != nil || n > 0 {
			return err
		}
		for _, t := range tables {
			if _, err := tx.Exec(t); err != nil {
				return err
			}
		}
		_, err := tx.Exec("INSERT INTO meta VALUES(?, ?, 0)", version, uidValidity)
		return err
	})
	if err == nil {
		err = ix.reload()
	}
	if err != nil {
		ix.Close()
		return nil, ix.failed("create", err)
	}
	return ix, nil
}

// modeBeside returns the permissions of dovecot.index, which others may share.
func modeBeside(path string) os.FileMode {
	for _, name := range []string{"dovecot.index", "dovecot.index.log"} {
		if st, err := os.Stat(filepath.Join(filepath.Dir(path), name)); err == nil {
			return st.Mode().Perm()
		}
	}
	return 0o600
}

// Close closes the file.
func (ix *Index) Close() { ix.db.Close() } //nolint:errcheck // what was committed is on disk

// Last returns the highest UID that the index has looked at.
func (ix *Index) Last() uint32 { return ix.last }

func (ix *Index) reload() error {
	return ix.wait(ix.ctx, func() error { return ix.db.QueryRowContext(ix.ctx, "SELECT last FROM meta").Scan(&ix.last) })
}

// wait repeats what fails because another process has the file locked, until the context is done.
func (ix *Index) wait(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		if !isBusy(err) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// change has fn change the file, all or nothing. The context bounds the wait for others who do.
func (ix *Index) change(ctx context.Context, fn func(*sql.Tx) error) error {
	var tx *sql.Tx
	err := ix.wait(ctx, func() (err error) {
		tx, err = ix.db.BeginTx(context.WithoutCancel(ctx), nil)
		return err
	})
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		tx.Rollback() //nolint:errcheck // the first error tells more
		return err
	}
	return tx.Commit()
}

func (ix *Index) failed(what string, err error) error {
	return fmt.Errorf("%s %s: %w", what, ix.path, err)
}
