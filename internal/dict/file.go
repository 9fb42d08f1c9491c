package dict

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// maxFile bounds what is read of a file.
const maxFile = 256 << 20

// A fileDict is the driver file: a line with a key and then one with its value, for
// each key, in any order, in which NUL, \001, TAB, CR and LF are escaped as package wire
// has it. A key without a value at the end is ignored; of a key that is there twice the
// last counts. There is no file until something is set.
//
// Who changes it writes a new file and puts it in place by rename, with the
// permissions of the old one. Meanwhile the file is locked ([lockFile]).
// Readers take no lock.
type fileDict struct {
	path string // may begin with "~/"
	lock lockMethod

	mu    sync.Mutex
	files map[string]*filePart // by path: more than one if it begins with "~/"
}

// maxParts is how many homes are remembered.
const maxParts = 1024

// A filePart is what was read of a file. It never changes.
type filePart struct {
	stamp   fs.FileInfo
	entries map[string]string
	keys    []string // sorted
}

func openFile(_ *Env, params string) (Dict, error) {
	path, param, hasParam := strings.Cut(params, ":")
	d := &fileDict{path: path, files: make(map[string]*filePart)}
	switch {
	case param == "lock=fcntl":
		d.lock = lockFcntl
	case param == "lock=flock":
		d.lock = lockFlock
	case hasParam:
		return nil, fmt.Errorf("Invalid parameter: %s", param)
	}
	return d, nil
}

// Close implements [Dict].
func (d *fileDict) Close() error { return nil }

// at returns the path of a user's file.
func (d *fileDict) at(user User) (string, error) {
	rest, ok := strings.CutPrefix(d.path, "~/")
	switch {
	case !ok:
		return d.path, nil
	case user.Home == "":
		return "", fmt.Errorf("%s needs the user's home directory", d.path)
	}
	return filepath.Join(user.Home, rest), nil
}

// Lookup implements [Dict].
func (d *fileDict) Lookup(_ context.Context, user User, key string) (string, error) {
	part, err := d.load(user)
	if err != nil {
		return "", err
	}
	value, ok := part.entries[key]
	if !ok {
		return "", ErrNotFound
	}
	return value, nil
}

// Iterate implements [Iterator].
func (d *fileDict) Iterate(_ context.Context, user User, q Query, fn func(key, value string) bool) error {
	part, err := d.load(user)
	if err != nil {
		return err
	}
	first, _ := slices.BinarySearch(part.keys, q.Prefix)
	for _, key := range part.keys[first:] {
		switch {
		case !strings.HasPrefix(key, q.Prefix):
			return nil
		case q.matches(key) && !fn(key, part.entries[key]):
			return nil
		}
	}
	return nil
}

// load returns the present content of a user's file.
func (d *fileDict) load(user User) (*filePart, error) {
	path, err := d.at(user)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	part, err := readPart(path, d.files[path])
	if err != nil {
		return nil, err
	}
	if len(d.files) >= maxParts && d.files[path] == nil {
		clear(d.files)
	}
	d.files[path] = part
	return part, nil
}

// readPart reads the file unless it is still what was read as old.
func readPart(path string, old *filePart) (*filePart, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &filePart{}, nil
	case err != nil:
		return nil, fmt.Errorf("open(%s) failed: %w", path, err)
	}
	defer f.Close()
	stamp, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("fstat(%s) failed: %w", path, err)
	case old != nil && old.stamp != nil && sameContent(old.stamp, stamp):
		return old, nil
	case stamp.Size() > maxFile:
		return nil, fmt.Errorf("dictionary %s is larger than %d bytes", path, maxFile)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read(%s) failed: %w", path, err)
	}
	part := &filePart{stamp: stamp, entries: parseEntries(text)}
	part.keys = slices.Sorted(maps.Keys(part.entries))
	return part, nil
}

// sameContent reports whether a file is the same and was not written to in between.
func sameContent(a, b fs.FileInfo) bool {
	x, okX := a.Sys().(*syscall.Stat_t)
	y, okY := b.Sys().(*syscall.Stat_t)
	return okX && okY && x.Ino == y.Ino && x.Dev == y.Dev && x.Size == y.Size && x.Mtim == y.Mtim && x.Ctim == y.Ctim
}

func parseEntries(text []byte) map[string]string {
	entries := make(map[string]string)
	for len(text) > 0 {
		key, rest, ok := bytes.Cut(text, []byte("\n"))
		if !ok || len(rest) == 0 {
			break
		}
		value, after, _ := bytes.Cut(rest, []byte("\n"))
		entries[wire.Unescape(string(key))] = wire.Unescape(string(value))
		text = after
	}
	return entries
}

func appendEntries(b []byte, entries map[string]string) []byte {
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		b = append(wire.AppendEscaped(b, key), '\n')
		b = append(wire.AppendEscaped(b, entries[key]), '\n')
	}
	return b
}

// Commit implements [Committer].
func (d *fileDict) Commit(ctx context.Context, user User, changes []Change) error {
	path, err := d.at(user)
	if err != nil {
		return err
	}
	lock, err := d.lockDir(ctx, path)
	if err != nil {
		return fmt.Errorf("dict-file: %w", err)
	}
	defer lock.release()
	part, err := readPart(path, nil)
	if err != nil {
		return err
	}
	entries := maps.Clone(part.entries)
	if entries == nil {
		entries = make(map[string]string)
	}
	missing, err := apply(entries, changes)
	if err != nil {
		return err
	}
	if err := lock.replace(appendEntries(nil, entries), part.stamp); err != nil {
		return fmt.Errorf("dict-file: %w", err)
	}
	if missing {
		return ErrNotFound
	}
	return nil
}

// lockDir locks the file, after making its directory if there is none.
func (d *fileDict) lockDir(ctx context.Context, path string) (*fileLock, error) {
	lock, err := lockFile(ctx, path, d.lock)
	if !errors.Is(err, fs.ErrNotExist) {
		return lock, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return lockFile(ctx, path, d.lock)
}

// apply makes the changes. missing tells that a key to be increased was not there.
func apply(entries map[string]string, changes []Change) (missing bool, err error) {
	for i := range changes {
		c := &changes[i]
		switch c.Kind {
		case Set:
			entries[c.Key] = c.Value
		case Unset:
			delete(entries, c.Key)
		case AtomicInc:
			old, ok := entries[c.Key]
			if !ok {
				missing = true
				continue
			}
			n, err := strconv.ParseInt(old, 10, 64)
			if err != nil {
				return false, fmt.Errorf("value of %s is not a number: %q", c.Key, old)
			}
			entries[c.Key] = strconv.FormatInt(n+c.Diff, 10)
		}
	}
	return missing, nil
}
