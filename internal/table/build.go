package table

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/table/bdb"
)

// Duplicates says what to do with a key that is there already.
type Duplicates uint8

// What may be done: postmap's default, -w and -r.
const (
	WarnDuplicate Duplicates = iota
	IgnoreDuplicate
	ReplaceDuplicate
)

// NUL says whether keys and values are stored with a NUL behind.
type NUL uint8

// As is usual for the type; always (-N); never (-n).
const (
	DefaultNUL NUL = iota
	WithNUL
	WithoutNUL
)

// A Builder makes a new database file, or a changed copy of the present one,
// and puts it in the place of the old with [Builder.Commit]. Readers, those of
// Postfix too, see the old file or the new one, never half of one.
type Builder struct {
	*indexFormat
	name string // of the table, in the warning about a duplicate
	path string
	held *os.File // the present file, locked as postmap locks it
	keys map[string]int
	recs []bdb.Record // those removed have no key
	gone int
	nul  bool
	o    BuildOptions
}

// BuildOptions are postmap's.
type BuildOptions struct {
	Keep       bool // start from the present records (-i, -d)
	MustExist  bool // the file
	NUL        NUL
	NoFold     bool
	UTF8       bool
	Duplicates Duplicates
	// Mode and owner of a new file. A UID of -1 leaves the owner.
	Mode     fs.FileMode
	UID, GID int
	Warn     func(string)
}

// Buildable reports whether tables of a type can be made, and the error text if not.
func Buildable(typ string) error {
	if indexFormats[typ] != nil {
		return nil
	}
	if err := refused[typ]; err != nil {
		return err
	}
	if slices.Contains(Types(), typ) {
		return fmt.Errorf("unsupported dictionary type: %s does not support bulk-mode creation.", typ)
	}
	return fmt.Errorf("unsupported dictionary type: %s", typ)
}

// NewBuilder begins to build the database of "type:name".
func NewBuilder(spec string, o BuildOptions) (*Builder, error) {
	typ, name, _ := strings.Cut(spec, ":")
	if typ == "proxy" {
		spec = name
		typ, name, _ = strings.Cut(name, ":")
	}
	if err := Buildable(typ); err != nil {
		return nil, err
	}
	format := indexFormats[typ]
	if o.Keep && format.fixed {
		return nil, fmt.Errorf("dict_%s_open: inappropriate open flags for %s database - specify O_RDONLY or O_WRONLY|O_CREAT|O_TRUNC", typ, typ)
	}
	b := &Builder{indexFormat: format, path: name + format.suffix, keys: make(map[string]int), o: o}
	b.name = format.duplicate(spec, name, b.path)
	b.nul = o.NUL == WithNUL || o.NUL == DefaultNUL && format.nul
	if err := b.begin(); err != nil {
		b.Abort()
		return nil, openError("database ", b.path, err)
	}
	return b, nil
}

// begin locks the present file and reads its records if they are kept.
func (b *Builder) begin() error {
	if b.fixed {
		return nil // nothing of the present file stays, and nobody locks it
	}
	if err := b.lockPresent(); err != nil || b.held == nil {
		return err
	}
	info, err := b.held.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		if b.suffix == ".db" {
			b.o.Warn("removing zero-length database file: " + b.path)
		}
		return nil
	}
	if !b.o.Keep {
		return nil
	}
	in, err := b.read(b.held)
	if err != nil {
		return err
	}
	return in.Walk(func(key, value []byte) error {
		b.set(slices.Clone(key), slices.Clone(value))
		return nil
	})
}

// lockPresent locks the present file, if there is one. If it was replaced
// while we waited for the lock, the one in its place is locked. The new file will have its
// permissions.
func (b *Builder) lockPresent() error {
	for {
		f, err := os.OpenFile(b.path, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) && !b.o.MustExist {
			return nil
		}
		if err != nil {
			return err
		}
		if err := b.lock(f, true); err != nil {
			f.Close()
			return err
		}
		held, err1 := f.Stat()
		named, err2 := os.Stat(b.path)
		if err1 == nil && err2 == nil && os.SameFile(held, named) {
			b.held, b.o.Mode = f, held.Mode().Perm()
			if st, ok := held.Sys().(*syscall.Stat_t); ok {
				b.o.UID, b.o.GID = int(st.Uid), int(st.Gid)
			}
			return nil
		}
		f.Close()
	}
}

func (b *Builder) set(key, value []byte) {
	if i, ok := b.keys[string(key)]; ok {
		b.recs[i].Value = value
		return
	}
	b.keys[string(key)] = len(b.recs)
	b.recs = append(b.recs, bdb.Record{Key: key, Value: value})
}

func (b *Builder) stored(s string) []byte {
	if !b.nul {
		return []byte(s)
	}
	return append([]byte(s), 0)
}

func (b *Builder) fold(key string) string {
	o := Options{NoFold: b.o.NoFold, UTF8: b.o.UTF8}
	return o.fold(key)
}

// Add adds a record.
func (b *Builder) Add(key, value string) {
	key = b.fold(key)
	b.add(b.stored(key), b.stored(value), key)
}

// AddRaw adds a record as it is, without NUL behind: one of those by which postalias
// describes a table.
func (b *Builder) AddRaw(key, value string) { b.add([]byte(key), []byte(value), key) }

func (b *Builder) add(key, value []byte, name string) {
	if _, dup := b.keys[string(key)]; dup && b.o.Duplicates != ReplaceDuplicate {
		if b.o.Duplicates == WarnDuplicate {
			b.o.Warn(fmt.Sprintf("%s: duplicate entry: \"%s\"", b.name, name))
		}
		return
	}
	b.set(key, value)
}

// ReplaceRest has records that are added from now on take the place of others.
func (b *Builder) ReplaceRest() { b.o.Duplicates = ReplaceDuplicate }

// Delete removes a key and reports whether it was there.
func (b *Builder) Delete(key string) bool {
	key = b.fold(key)
	for _, k := range []string{key + "\x00", key} {
		i, ok := b.keys[k]
		if !ok {
			continue
		}
		b.recs[i] = bdb.Record{}
		b.gone++
		delete(b.keys, k)
		return true
	}
	return false
}

// Commit writes the file and puts it in place.
func (b *Builder) Commit() error {
	defer b.Abort()
	tmp, err := os.CreateTemp(filepath.Dir(b.path), filepath.Base(b.path)+".tmp")
	if err != nil {
		return openError("database ", b.path, err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := b.writeTo(tmp); err != nil {
		return fmt.Errorf("write database %s: %s", b.path, Reason(err))
	}
	if err := os.Rename(tmp.Name(), b.path); err != nil {
		return fmt.Errorf("rename database %s: %s", b.path, Reason(err))
	}
	return nil
}

func (b *Builder) writeTo(tmp *os.File) error {
	if b.gone > 0 {
		b.recs = slices.DeleteFunc(b.recs, func(r bdb.Record) bool { return r.Key == nil })
	}
	if err := b.write(tmp, b.recs); err != nil {
		return err
	}
	if b.o.UID >= 0 && os.Geteuid() == 0 {
		if err := tmp.Chown(b.o.UID, b.o.GID); err != nil {
			return err
		}
	}
	if err := tmp.Chmod(b.o.Mode); err != nil {
		return err
	}
	return tmp.Sync()
}

// Abort gives the work up.
func (b *Builder) Abort() {
	if b.held != nil {
		b.held.Close()
		b.held = nil
	}
}
