package dictfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dotlock"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// maxSize bounds what is read of a file.
const maxSize = 64 << 20

// The times that Dovecot waits for the lock, and after which it is stale.
const (
	lockTimeout = 30 * time.Second
	lockStale   = 60 * time.Second
)

// A Dict is a dictionary in a file.
type Dict struct {
	path string
	lock index.LockMethod // "" for a file beside it
}

// New returns the dictionary that a URI names, without the "file:" in front:
// PATH[:lock=fcntl|flock]. "~/" is the home directory.
func New(uri, home string) (*Dict, error) {
	path, param, hasParam := strings.Cut(uri, ":")
	if rest, ok := strings.CutPrefix(path, "~/"); ok && home != "" {
		path = filepath.Join(home, rest)
	}
	d := &Dict{path: path}
	switch param {
	case "lock=fcntl":
		d.lock = index.LockFcntl
	case "lock=flock":
		d.lock = index.LockFlock
	default:
		if hasParam {
			return nil, fmt.Errorf("dict file: Invalid parameter: %s", param)
		}
	}
	return d, nil
}

// Entries are the keys of a dictionary and their values.
type Entries map[string]string

// Load reads the dictionary. It is empty if there is no file.
func (d *Dict) Load() (Entries, error) {
	f, err := os.Open(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Entries{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSize {
		return nil, fmt.Errorf("dictionary %s is larger than %d bytes", d.path, maxSize)
	}
	return parse(text), nil
}

func parse(text []byte) Entries {
	e := Entries{}
	for len(text) > 0 {
		key, rest, ok := bytes.Cut(text, []byte("\n"))
		if !ok {
			break
		}
		value, after, _ := bytes.Cut(rest, []byte("\n"))
		if len(rest) == 0 {
			break
		}
		e[wire.Unescape(string(key))] = wire.Unescape(string(value))
		text = after
	}
	return e
}

// append appends the text of the file, sorted.
func (e Entries) append(b []byte) []byte {
	for _, key := range e.keys("") {
		b = append(wire.AppendEscaped(b, key), '\n')
		b = append(wire.AppendEscaped(b, e[key]), '\n')
	}
	return b
}

func (e Entries) keys(prefix string) []string {
	var keys []string
	for key := range e {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Keys returns the keys that begin with prefix, sorted.
func (e Entries) Keys(prefix string) []string { return e.keys(prefix) }

// Update has change change the entries, and writes them if it returns true. Others
// who do so wait.
func (d *Dict) Update(ctx context.Context, change func(e Entries) bool) error {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		return err
	}
	if d.lock != "" {
		return d.updateLocked(ctx, change)
	}
	lock, err := dotlock.Take(ctx, d.path, dotlock.Options{Timeout: lockTimeout, Stale: lockStale})
	if err != nil {
		return err
	}
	defer lock.Release()
	e, mode, err := d.latest()
	if err != nil || !change(e) {
		return err
	}
	if err := lock.Replace(e.append(nil)); err != nil {
		return err
	}
	return os.Chmod(d.path, mode)
}

// latest reads the entries, and the permissions that a new file gets.
func (d *Dict) latest() (Entries, fs.FileMode, error) {
	e, err := d.Load()
	if err != nil {
		return nil, 0, err
	}
	if st, err := os.Stat(d.path); err == nil {
		return e, st.Mode().Perm(), nil
	}
	st, err := os.Stat(filepath.Dir(d.path))
	if err != nil {
		return nil, 0, err
	}
	return e, st.Mode().Perm()&0o666 | 0o600, nil
}

// updateLocked is Update with a lock on the file itself, which is made if it is
// missing.
func (d *Dict) updateLocked(ctx context.Context, change func(e Entries) bool) error {
	f, err := d.lockFile(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	defer index.UnlockFile(int(f.Fd()), d.lock)
	e, mode, err := d.latest()
	if err != nil || !change(e) {
		return err
	}
	temp := d.path + ".tmp"
	out, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(e.append(nil))
	if err == nil {
		err = out.Chmod(mode)
	}
	if err == nil {
		err = out.Sync()
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return os.Rename(temp, d.path)
}

// lockFile opens and locks the file. Another may have been put in its place while
// that took time.
func (d *Dict) lockFile(ctx context.Context) (*os.File, error) {
	for {
		f, err := os.OpenFile(d.path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := index.LockFile(ctx, int(f.Fd()), d.lock, lockTimeout); err != nil {
			f.Close()
			return nil, err
		}
		have, err1 := f.Stat()
		now, err2 := os.Stat(d.path)
		if err1 == nil && err2 == nil && os.SameFile(have, now) {
			return f, nil
		}
		f.Close()
		if err1 != nil {
			return nil, err1
		}
	}
}
