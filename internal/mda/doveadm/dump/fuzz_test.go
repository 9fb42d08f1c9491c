package dump

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// fuzzTypes are the types that are given arbitrary bytes.
var fuzzTypes = []string{"dbox", "log", "mailboxlog", "thread", "imapzlib", "index"}

// FuzzDump gives every reader files that nobody wrote. For an index there are three: its
// snapshot, its log and its cache.
func FuzzDump(f *testing.F) {
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	log := read("../../store/index/testdata/rotated.2.log")
	index := read("../../store/index/testdata/rotated.index")
	box := read("../../store/dbox/testdata/u.1")
	for kind := range fuzzTypes {
		f.Add(byte(kind), log, index, box)
		f.Add(byte(kind), box, index, log)
	}
	f.Fuzz(func(t *testing.T, kind byte, file, index, cache []byte) {
		path := filepath.Join(t.TempDir(), "dovecot.index")
		write := func(name string, b []byte) {
			if err := os.WriteFile(path+name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		typ := fuzzTypes[int(kind)%len(fuzzTypes)]
		if typ != "index" {
			write("", file)
		} else {
			write("", index)
			write(".log", file)
			write(".cache", cache)
		}
		Main([]string{"-t", typ, path}, io.Discard, io.Discard)
	})
}
