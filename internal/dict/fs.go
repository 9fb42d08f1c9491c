package dict

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxValue bounds the value of one key in drivers that keep each apart.
const maxValue = 16 << 20

// An fsDict is the driver fs, of which posix is there: a file for each key, in a
// directory tree. Private keys are below the user's name.
type fsDict struct{ prefix string }

func openFS(_ *Env, params string) (Dict, error) {
	kind, rest, _ := strings.Cut(params, ":")
	if kind != "posix" {
		return nil, fmt.Errorf("fs driver %s is not supported by Dovetail; use posix", kind)
	}
	d := new(fsDict)
	for param := range strings.SplitSeq(rest, ":") {
		name, value, _ := strings.Cut(param, "=")
		switch name {
		case "":
		case "prefix":
			d.prefix = value
		default:
			return nil, fmt.Errorf("fs-posix: Unknown arg '%s'", param)
		}
	}
	return d, nil
}

// Close implements [Dict].
func (d *fsDict) Close() error { return nil }

// path returns the file of a key.
func (d *fsDict) path(user User, key string) (string, error) {
	if strings.ContainsRune(key+user.Name, 0) {
		return "", errors.New("key or user name holds NUL")
	}
	name, ok := strings.CutPrefix(escapeDots(key), Shared)
	if !ok {
		if user.Name == "." || user.Name == ".." || strings.ContainsRune(user.Name, '/') {
			return "", errors.New("user name is no path")
		}
		name = user.Name + "/" + strings.TrimPrefix(escapeDots(key), Private)
	}
	return d.prefix + name, nil
}

// escapeDots adds a dot to components that consist of dots, so that none leads
// elsewhere.
func escapeDots(key string) string {
	parts := strings.Split(key, "/")
	for i, part := range parts {
		if i > 0 && part != "" && strings.Trim(part, ".") == "" {
			parts[i] = ".." + part
		}
	}
	return strings.Join(parts, "/")
}

// Lookup implements [Dict].
func (d *fsDict) Lookup(_ context.Context, user User, key string) (string, error) {
	path, err := d.path(user, key)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", ErrNotFound
	case err != nil:
		return "", fmt.Errorf("read(%s) failed: %w", path, err)
	}
	defer f.Close()
	value, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	switch {
	case errors.Is(err, syscall.EISDIR):
		return "", ErrNotFound
	case err != nil:
		return "", fmt.Errorf("read(%s) failed: %w", path, err)
	case len(value) > maxValue:
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxValue)
	}
	return string(value), nil
}

// Iterate implements [Iterator]. Only the keys of one directory can be listed.
func (d *fsDict) Iterate(ctx context.Context, user User, q Query, fn func(key, value string) bool) error {
	if q.Recurse {
		return errUnsupported
	}
	path, err := d.path(user, q.Prefix)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		key, value := q.Prefix+entry.Name(), ""
		if !q.NoValue {
			value, err = d.Lookup(ctx, user, key)
			if errors.Is(err, ErrNotFound) {
				continue // just deleted
			}
			if err != nil {
				return err
			}
		}
		if !fn(key, value) {
			return nil
		}
	}
	return nil
}

// Commit implements [Committer]. Each change is made by itself, as in Dovecot.
func (d *fsDict) Commit(_ context.Context, user User, changes []Change) error {
	for i := range changes {
		c := &changes[i]
		path, err := d.path(user, c.Key)
		if err != nil {
			return err
		}
		switch c.Kind {
		case Set:
			err = writeFile(path, c.Value)
		case Unset:
			if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		case AtomicInc:
			err = errUnsupported
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeFile puts a file in place by rename.
func writeFile(path, text string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".temp.")
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		f, err = os.CreateTemp(dir, ".temp.")
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
