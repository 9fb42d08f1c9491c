package table

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What is kept of a table in memory is read without a lock. Postfix's postmap, which writes into the
// file that is open, is noticed all the same: by a look-up of what is in memory, and by one that
// begins with it and goes on in the file.
func TestKeptBlocks(t *testing.T) {
	for _, typ := range []string{"hash", "btree", "lmdb"} {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			spec := typ + ":" + filepath.Join(t.TempDir(), "table")
			path := spec[len(typ)+1:] + indexFormats[typ].suffix
			records := make(map[string]string)
			for i := range 3000 {
				records[fmt.Sprint("key", i)] = "old"
			}
			build(t, spec, BuildOptions{}, records)
			age(t, path)
			table, err := Open(spec, Options{})
			if err != nil {
				t.Fatal(err)
			}
			find := func(key, want string) {
				t.Helper()
				if got, _, err := table.Lookup(context.Background(), key); got != want || err != nil {
					t.Fatalf("%s: %q, %v; want %q", key, got, err, want)
				}
			}
			find("key1", "old")
			locks := countLocks(table)
			find("key1", "old")
			if *locks != 0 {
				t.Errorf("a look-up in memory took %d locks", *locks)
			}
			for version := range 3 {
				run(t, fmt.Sprintf("key1 new%d\nkey2 new%d\n", version, version), "postmap", "-ir", spec)
				find("key1", fmt.Sprint("new", version))
				find("key2", fmt.Sprint("new", version))
				find("key2999", "old")
				age(t, path)
			}
		})
	}
}

// age makes a file look as if it had not been changed for long.
func age(t *testing.T, path string) {
	t.Helper()
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
}

// countLocks counts the locks that a table takes from now on.
func countLocks(table Table) *int {
	index := table.(*indexTable)
	format, n := *index.indexFormat, new(int)
	lock := format.lock
	format.lock = func(f *os.File, exclusive bool) error {
		*n++
		return lock(f, exclusive)
	}
	index.indexFormat = &format
	return n
}

// A file that is written to in the middle of a look-up is read again from the beginning.
func TestChangedMeanwhile(t *testing.T) {
	spec := "hash:" + filepath.Join(t.TempDir(), "table")
	build(t, spec, BuildOptions{}, map[string]string{"key": "old"})
	age(t, spec[len("hash:"):]+".db")
	table, err := Open(spec, Options{})
	if err != nil {
		t.Fatal(err)
	}
	index := table.(*indexTable)
	format := *index.indexFormat
	lock := format.lock
	format.lock = func(f *os.File, exclusive bool) error {
		format.lock = lock
		run(t, "key new\n", "postmap", "-ir", spec) // after begin looked, before anything is read
		return lock(f, exclusive)
	}
	index.indexFormat = &format
	if got, _, err := table.Lookup(context.Background(), "key"); got != "new" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
