package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/table/bdb"
)

// hashTable is NAME.db. A file that was replaced is opened anew, so no daemon needs
// to be told of a postmap run.
type hashTable struct {
	name string // of the .db file
	o    Options

	mu      sync.Mutex
	file    *os.File
	info    os.FileInfo
	checked time.Time
	reader  *bdb.Reader
	form    nulForm
}

// nulForm says whether keys end in NUL. It is found out by the first hit.
type nulForm uint8

const (
	nulUnknown nulForm = iota
	nulYes
	nulNo
)

// checkInterval is how long a replaced file may go unnoticed.
const checkInterval = time.Second

func openHash(_, name string, o *Options) (Table, error) {
	t := &hashTable{name: name + ".db", o: *o}
	if err := t.open(); err != nil {
		return nil, openError("database ", t.name, err)
	}
	t.warnIfStale(name)
	return t, nil
}

// warnIfStale tells that postmap was forgotten after an edit.
func (t *hashTable) warnIfStale(source string) {
	info, err := t.o.stat(source)
	if err == nil && info.ModTime().After(t.info.ModTime()) && time.Since(info.ModTime()) > 100*time.Second {
		t.o.warnf("database %s is older than source file %s", t.name, source)
	}
}

// open opens the file under the lock that postmap takes to write it.
func (t *hashTable) open() error {
	f, err := t.o.open(t.name)
	if err != nil {
		return err
	}
	if err := lock(f, unix.LOCK_SH); err != nil {
		f.Close()
		return err
	}
	defer unlock(f)
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		err = unix.EINVAL
	}
	var r *bdb.Reader
	if err == nil {
		r, err = bdb.NewReader(f)
	}
	if err != nil {
		f.Close()
		return err
	}
	if t.file != nil {
		t.file.Close()
	}
	t.file, t.info, t.reader, t.form, t.checked = f, info, r, nulUnknown, time.Now()
	return nil
}

func lock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func unlock(f *os.File) { unix.Flock(int(f.Fd()), unix.LOCK_UN) } //nolint:errcheck // closing unlocks too

// refresh opens the file anew if it was replaced or rewritten.
func (t *hashTable) refresh() error {
	now := time.Now()
	if now.Sub(t.checked) < checkInterval {
		return nil
	}
	t.checked = now
	info, err := t.o.stat(t.name)
	if err != nil {
		return nil // between removal and renaming: what is open still serves
	}
	if !changed(t.info, info) {
		return nil
	}
	return t.open()
}

// Lookup implements [Table].
func (t *hashTable) Lookup(_ context.Context, key string) (string, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	value, found, err := t.lookup(t.o.fold(key))
	if err != nil {
		return "", false, fmt.Errorf("hash table %s: %w", t.name, err)
	}
	return value, found, nil
}

func (t *hashTable) lookup(key string) (string, bool, error) {
	if err := t.refresh(); err != nil {
		return "", false, err
	}
	if err := lock(t.file, unix.LOCK_SH); err != nil {
		return "", false, err
	}
	defer unlock(t.file)
	if t.form != nulNo {
		value, found, err := t.reader.Lookup(append([]byte(key), 0))
		if err != nil {
			return "", false, err
		}
		if found {
			t.form = nulYes
			return text(value), true, nil
		}
	}
	if t.form == nulYes {
		return "", false, nil
	}
	value, found, err := t.reader.Lookup([]byte(key))
	if found {
		t.form = nulNo
	}
	return text(value), found, err
}

// text ends a value at its first NUL.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// Walk implements [Walker].
func (t *hashTable) Walk(fn func(key, value string) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := lock(t.file, unix.LOCK_SH); err != nil {
		return err
	}
	defer unlock(t.file)
	return t.reader.Walk(func(key, value []byte) error { return fn(text(key), text(value)) })
}

// Close implements [Closer].
func (t *hashTable) Close() error { return t.file.Close() }
