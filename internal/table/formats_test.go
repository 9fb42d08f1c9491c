package table

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// formats are the types with files of their own, and how the original programs check such a file.
var formats = []struct {
	typ     string
	longest int // key
	check   []string
}{
	{"hash", 3000, []string{"db5.3_verify", "FILE.db"}},
	{"btree", 3000, []string{"db5.3_verify", "FILE.db"}},
	{"lmdb", 510, []string{"mdb_dump", "-n", "FILE.lmdb"}},
	{"cdb", 3000, []string{"cdb", "-s", "FILE.cdb"}},
}

// run runs one of the original programs, which has to succeed.
func run(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v (if it is not installed: run test/install-packages)\n%.2000s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// generated makes records whose keys and values have the lengths that matter in the
// formats: around the limits of what is kept on a page, and beyond.
func generated(r *rand.Rand, n, longest int) map[string]string {
	limits := []int{1, 2, 109, 110, 111, 506, 510, 1005, 1006, 1007, 1022, 1023, 1024, 1025, 2030, 2038, 4062, 4070, 4071, 9000}
	records := make(map[string]string, n)
	for len(records) < n {
		size := 1 + r.IntN(40)
		if r.IntN(10) == 0 {
			size = min(limits[r.IntN(len(limits))], longest)
		}
		key := word(r, size)
		if r.IntN(4) == 0 { // one that begins as another
			for k := range records {
				key = k + word(r, 1+r.IntN(3))
				break
			}
		}
		size = 1 + r.IntN(60)
		if r.IntN(10) == 0 {
			size = limits[r.IntN(len(limits))]
		}
		if len(key) <= longest {
			records[key] = word(r, size)
		}
	}
	return records
}

func word(r *rand.Rand, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789@.-_+\xc3"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[r.IntN(len(letters)-1)]
	}
	return string(b)
}

func build(t testing.TB, spec string, o BuildOptions, records map[string]string) {
	t.Helper()
	o.Mode, o.UID, o.Warn = 0o644, -1, func(text string) { t.Errorf("warning: %s", text) }
	b, err := NewBuilder(spec, o)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range records {
		b.Add(key, value)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

// source is the text that postmap would make a table of.
func source(records map[string]string) string {
	var b strings.Builder
	for key, value := range records {
		fmt.Fprintf(&b, "%s %s\n", key, value)
	}
	return b.String()
}

// checkOurs looks all records up, and counts them where that can be done.
func checkOurs(t testing.TB, spec string, records map[string]string) {
	t.Helper()
	var w warnings
	table, err := Open(spec, w.options())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range records {
		if got, found, err := table.Lookup(context.Background(), key); err != nil || !found || got != want {
			t.Fatalf("Lookup(%.60q) = %.60q, %v, %v; want %.60q", key, got, found, err, want)
		}
	}
	for _, key := range []string{"", "no such key", strings.Repeat("z", 2000)} {
		if _, found, err := table.Lookup(context.Background(), key); found || err != nil {
			t.Errorf("Lookup(%.20q) finds %v, %v", key, found, err)
		}
	}
	if strings.HasPrefix(spec, "cdb:") {
		return
	}
	n := 0
	if err := table.(Walker).Walk(func(key, value string) error {
		n++
		if records[key] != value {
			t.Errorf("%.60q is listed as %.60q", key, value)
		}
		return nil
	}); err != nil || n != len(records) {
		t.Errorf("listed %d records of %d: %v", n, len(records), err)
	}
}

// checkTheirs asks Postfix's postmap for all records.
func checkTheirs(t testing.TB, spec string, records map[string]string) {
	t.Helper()
	var keys strings.Builder
	for key := range records {
		fmt.Fprintln(&keys, key)
	}
	out := run(t, keys.String(), "postmap", "-q", "-", spec)
	n := 0
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if records[key] != value {
			t.Fatalf("Postfix finds %.60q for %.60q, want %.60q", value, key, records[key])
		}
		n++
	}
	if n != len(records) {
		t.Fatalf("Postfix finds %d of %d records", n, len(records))
	}
}

// Tables go back and forth between Postfix's postmap and ours: built by one, changed by the
// other, in turn, and both find everything at each step. The format's own tools agree.
func TestFormatsBothWays(t *testing.T) {
	for _, f := range formats {
		for seed, n := range []int{0, 1, 5, 60, 700, 4000} {
			t.Run(fmt.Sprint(f.typ, n), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(uint64(seed), 1))
				file := filepath.Join(t.TempDir(), "table")
				spec := f.typ + ":" + file
				records := generated(r, n, f.longest)
				nul := NUL(seed % 3)
				if f.typ == "hash" && nul == WithoutNUL {
					nul = DefaultNUL // where long keys begin as others do, libdb does not find its own
				}
				build(t, spec, BuildOptions{NUL: nul}, records)
				verify := func() {
					t.Helper()
					args := strings.Fields(strings.ReplaceAll(strings.Join(f.check, " "), "FILE", file))
					if out := run(t, "", args...); strings.Contains(strings.ToLower(out), "fail") || strings.Contains(out, "BDB") && !strings.Contains(out, "succeeded") {
						t.Fatal(out)
					}
					checkOurs(t, spec, records)
					if len(records) > 0 {
						checkTheirs(t, spec, records)
					}
				}
				verify()
				if f.typ == "cdb" {
					records = generated(r, n+3, f.longest)
					writeOld(t, file, source(records))
					run(t, "", "postmap", spec)
					verify()
					return
				}
				how := map[NUL]string{DefaultNUL: "-i", WithNUL: "-iN", WithoutNUL: "-in"}[nul]
				more := generated(r, n/3+2, f.longest)
				run(t, source(more), "postmap", "-r", how, spec)
				for key, value := range more {
					records[key] = value
				}
				verify()
				more = generated(r, n/3+2, f.longest)
				build(t, spec, BuildOptions{NUL: nul, Keep: true, Duplicates: ReplaceDuplicate}, more)
				for key, value := range more {
					records[key] = value
				}
				verify()
				var gone strings.Builder
				for key := range records {
					if r.IntN(3) == 0 {
						fmt.Fprintln(&gone, key)
						delete(records, key)
					}
				}
				if gone.Len() > 0 {
					run(t, gone.String(), "postmap", "-d", "-", spec)
				}
				verify()
			})
		}
	}
}

func writeOld(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, past, past); err != nil {
		t.Fatal(err)
	}
}

// Keys so long that they are not kept on pages, with long beginnings in common, make
// separators in a btree that are as long.
func TestLongSeparators(t *testing.T) {
	file := filepath.Join(t.TempDir(), "table")
	records := make(map[string]string)
	for i := range 300 {
		records[strings.Repeat("common", 333)+fmt.Sprintf("%04d", i*7)] = fmt.Sprint(i)
	}
	for _, typ := range []string{"hash", "btree"} {
		spec := typ + ":" + file
		build(t, spec, BuildOptions{}, records)
		run(t, "", "db5.3_verify", file+".db")
		checkOurs(t, spec, records)
		checkTheirs(t, spec, records)
		writeOld(t, file, source(records))
		run(t, "", "postmap", spec)
		checkOurs(t, spec, records)
	}
}

// db5.3_load makes files with other page sizes and byte orders than postmap.
func TestForeignFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	records := generated(r, 1000, 900)
	var dump strings.Builder
	for key, value := range records {
		fmt.Fprintf(&dump, "%s\n%s\n", key, value)
	}
	for _, typ := range []string{"hash", "btree"} {
		for _, size := range []int{512, 8192, 65536} {
			for _, order := range []int{1234, 4321} {
				file := filepath.Join(t.TempDir(), "table")
				run(t, dump.String(), "db5.3_load", "-T", "-t", typ, "-c", fmt.Sprint("db_pagesize=", size), "-c", fmt.Sprint("db_lorder=", order), file+".db")
				checkOurs(t, typ+":"+file, records)
			}
		}
	}
}

// A table of a million keys is made in seconds, and Postfix finds what is in it.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("makes tables of 1,000,000 keys")
	}
	for _, f := range formats {
		n := 100_000
		if f.typ == "hash" {
			n = 1_000_000
		}
		file := filepath.Join(t.TempDir(), "table")
		spec := f.typ + ":" + file
		b, err := NewBuilder(spec, BuildOptions{Mode: 0o644, UID: -1})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			b.Add(fmt.Sprintf("user%d@example.com", i), fmt.Sprint("box", i))
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		sample := make(map[string]string)
		for i := 0; i < n; i += 997 {
			sample[fmt.Sprintf("user%d@example.com", i)] = fmt.Sprint("box", i)
		}
		checkTheirs(t, spec, sample)
		table, err := Open(spec, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range sample {
			if got, _, err := table.Lookup(context.Background(), key); err != nil || got != want {
				t.Fatalf("Lookup(%q) = %q, %v", key, got, err)
			}
		}
	}
}

// While a table is built again and again, by Postfix's postmap and by ours, each lookup, in
// either program, finds what is in every version of it.
func TestRebuildWhileInUse(t *testing.T) {
	for _, f := range formats {
		t.Run(f.typ, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "table")
			spec := f.typ + ":" + file
			always := map[string]string{"always": "here"}
			for i := range 2000 {
				always[fmt.Sprint("key", i)] = "x"
			}
			writeOld(t, file, source(always))
			build(t, spec, BuildOptions{}, always)
			var w warnings
			table, err := Open(spec, w.options())
			if err != nil {
				t.Fatal(err)
			}
			stop := make(chan struct{})
			var readers sync.WaitGroup
			for range 4 {
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if got, found, err := table.Lookup(context.Background(), "always"); got != "here" || !found || err != nil {
							t.Errorf("during a rebuild: %q, %v, %v", got, found, err)
							return
						}
					}
				})
			}
			for i := range 12 {
				if i%2 == 0 {
					run(t, "", "postmap", spec)
				} else {
					always["version"] = fmt.Sprint(i)
					build(t, spec, BuildOptions{}, always)
				}
				if out := run(t, "", "postmap", "-q", "always", spec); out != "here\n" {
					t.Errorf("Postfix finds %q", out)
				}
			}
			close(stop)
			readers.Wait()
			if got, _, err := table.Lookup(context.Background(), "version"); got != "11" || err != nil {
				t.Errorf("the last version is not seen: %q, %v", got, err)
			}
		})
	}
}

// Several postmap -i at once, Postfix's and ours, lose none of their records.
func TestConcurrentUpdates(t *testing.T) {
	for _, typ := range []string{"hash", "btree", "lmdb"} {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			spec := typ + ":" + filepath.Join(t.TempDir(), "table")
			want := map[string]string{"first": "1"}
			build(t, spec, BuildOptions{}, want)
			var writers sync.WaitGroup
			for i := range 12 {
				records := map[string]string{fmt.Sprint("key", i): fmt.Sprint(i)}
				want[fmt.Sprint("key", i)] = fmt.Sprint(i)
				// Postfix's own postmap opens the file before it locks it, and so misses that we
				// put another in its place: only ours are at work at once.
				writers.Go(func() { build(t, spec, BuildOptions{Keep: true}, records) })
			}
			writers.Wait()
			run(t, "last 1\n", "postmap", "-i", spec)
			want["last"] = "1"
			checkOurs(t, spec, want)
		})
	}
}

// A file that is damaged is a temporary failure, not an absent key.
func TestDamagedFile(t *testing.T) {
	for _, f := range formats {
		file := filepath.Join(t.TempDir(), "table")
		spec := f.typ + ":" + file
		build(t, spec, BuildOptions{}, map[string]string{"a": "1"})
		path := file + indexFormats[f.typ].suffix
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("open database %s: Invalid argument", path)
		if _, err := Open(spec, Options{}); err == nil || err.Error() != want {
			t.Errorf("%s: empty file: %v, want %s", f.typ, err, want)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte("garbage!"), 4096), 0o644); err != nil {
			t.Fatal(err)
		}
		table, err := Open(spec, Options{})
		if err == nil {
			_, _, err = table.Lookup(context.Background(), "a")
		}
		if err == nil {
			t.Errorf("%s: nobody minds garbage", f.typ)
		}
	}
}
