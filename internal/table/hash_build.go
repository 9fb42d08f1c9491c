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

	"golang.org/x/sys/unix"

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

// A Builder makes a new database file, or a changed copy of the present one,
// and puts it in the place of the old with [Builder.Commit]. Readers, those of
// Postfix too, see the old file or the new one, never half of one.
type Builder struct {
	spec string
	path string
	lock *os.File // the present file, locked as postmap locks it
	keys map[string]int
	recs []bdb.Record
	o    BuildOptions
	mode fs.FileMode
	uid  int
	gid  int
}

// BuildOptions are postmap's.
type BuildOptions struct {
	Keep       bool // start from the present records (-i, -d)
	NoNUL      bool // do not append NUL to keys and values (-n)
	NoFold     bool
	Duplicates Duplicates
	// Mode and owner of a new file: those of the source, without execute
	// bits. -1 leaves the owner.
	Mode     fs.FileMode
	UID, GID int
	Warn     func(string)
}

// Buildable reports whether tables of a type can be made, and the error text if not.
func Buildable(typ string) error {
	if typ == "hash" {
		return nil
	}
	if slices.Contains(Types(), typ) {
		return fmt.Errorf("unsupported dictionary type: %s does not support bulk-mode creation.", typ)
	}
	return fmt.Errorf("unsupported dictionary type: %s", typ)
}

// NewBuilder begins to build the database of "type:name".
func NewBuilder(spec string, o BuildOptions) (*Builder, error) {
	typ, name, _ := strings.Cut(spec, ":")
	if err := Buildable(typ); err != nil {
		return nil, err
	}
	b := &Builder{spec: spec, path: name + ".db", keys: make(map[string]int), o: o, mode: o.Mode, uid: o.UID, gid: o.GID}
	if err := b.lockPresent(); err != nil {
		return nil, openError("database ", b.path, err)
	}
	if b.lock == nil || !o.Keep {
		return b, nil
	}
	r, err := bdb.NewReader(b.lock)
	if err == nil {
		err = r.Walk(func(key, value []byte) error {
			b.set(slices.Clone(key), slices.Clone(value))
			return nil
		})
	}
	if err != nil {
		b.Abort()
		return nil, openError("database ", b.path, err)
	}
	return b, nil
}

// lockPresent locks the present file, if there is one. If it was replaced
// while we waited for the lock, the one in its place is locked.
func (b *Builder) lockPresent() error {
	for {
		f, err := os.OpenFile(b.path, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := lock(f, unix.LOCK_EX); err != nil {
			f.Close()
			return err
		}
		held, err1 := f.Stat()
		named, err2 := os.Stat(b.path)
		if err1 == nil && err2 == nil && os.SameFile(held, named) {
			b.lock, b.mode = f, held.Mode().Perm()
			if st, ok := held.Sys().(*syscall.Stat_t); ok {
				b.uid, b.gid = int(st.Uid), int(st.Gid)
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
	if b.o.NoNUL {
		return []byte(s)
	}
	return append([]byte(s), 0)
}

// Add adds a record.
func (b *Builder) Add(key, value string) {
	if !b.o.NoFold {
		key = strings.ToLower(key)
	}
	k := b.stored(key)
	if _, dup := b.keys[string(k)]; dup && b.o.Duplicates != ReplaceDuplicate {
		if b.o.Duplicates == WarnDuplicate {
			b.o.Warn(fmt.Sprintf("%s: duplicate entry: %q", b.path, key))
		}
		return
	}
	b.set(k, b.stored(value))
}

// Delete removes a key and reports whether it was there.
func (b *Builder) Delete(key string) bool {
	if !b.o.NoFold {
		key = strings.ToLower(key)
	}
	for _, k := range []string{key + "\x00", key} {
		i, ok := b.keys[k]
		if !ok {
			continue
		}
		b.recs = slices.Delete(b.recs, i, i+1)
		delete(b.keys, k)
		for other, j := range b.keys {
			if j > i {
				b.keys[other] = j - 1
			}
		}
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
	if err := b.write(tmp); err != nil {
		return fmt.Errorf("write database %s: %s", b.path, Reason(err))
	}
	if err := os.Rename(tmp.Name(), b.path); err != nil {
		return fmt.Errorf("rename database %s: %s", b.path, Reason(err))
	}
	return nil
}

func (b *Builder) write(tmp *os.File) error {
	if err := bdb.Write(tmp, b.recs); err != nil {
		return err
	}
	if err := tmp.Chmod(b.mode); err != nil {
		return err
	}
	if b.uid >= 0 && os.Geteuid() == 0 {
		if err := tmp.Chown(b.uid, b.gid); err != nil {
			return err
		}
	}
	return tmp.Sync()
}

// Abort gives the work up.
func (b *Builder) Abort() {
	if b.lock != nil {
		b.lock.Close()
		b.lock = nil
	}
}
