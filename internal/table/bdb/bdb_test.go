package bdb

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func open(t testing.TB, name string) *Reader {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Values from the format's description: the hash function is what decides
// where everything lies.
func TestHashVectors(t *testing.T) {
	for key, want := range map[string]uint32{
		"": 0, "a": 0x61, "a\x00": 0x610098b3, "example.org": 0x83cba40a, "example.org\x00": 0x83933bbe,
		"alice@example.com\x00": 0x84502a55, "%$sniglet^&\x00": 0x5e688dd1, "\xc3\xa9\x00": 0x4ae233f0,
	} {
		if got := Hash([]byte(key)); got != want {
			t.Errorf("Hash(%q) = %08x, want %08x", key, got, want)
		}
	}
}

// A table that postmap grew and shrank has split buckets, chains, overflow
// pages and a free list. Every record of it is found.
func TestReadsWhatPostmapWrote(t *testing.T) {
	r := open(t, "grown-hash.db")
	want, err := os.ReadFile("testdata/grown.tsv")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(want)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		got, found, err := r.Lookup([]byte(key + "\x00"))
		if err != nil || !found || strings.TrimSuffix(string(got), "\x00") != value {
			t.Errorf("Lookup(%.40q) = %.40q, %v, %v; want %.40q", key, got, found, err, value)
		}
		n++
	}
	walked := 0
	if err := r.Walk(func(key, value []byte) error { walked++; return nil }); err != nil {
		t.Fatal(err)
	}
	if walked != n {
		t.Errorf("Walk found %d records, want %d", walked, n)
	}
	if _, found, err := r.Lookup([]byte("no such key\x00")); found || err != nil {
		t.Errorf("Lookup of a missing key: %v, %v", found, err)
	}
}

func records(n int) []Record {
	var list []Record
	for i := range n {
		key := fmt.Sprintf("user%d@example.com\x00", i)
		value := strings.Repeat("v", i%300) + "\x00"
		list = append(list, Record{[]byte(key), []byte(value)})
	}
	return append(list,
		Record{[]byte(strings.Repeat("k", 3000) + "\x00"), []byte("long key\x00")},
		Record{[]byte("long value\x00"), []byte(strings.Repeat("x", 20000) + "\x00")},
		// The shorter key is the beginning of the longer: order matters.
		Record{[]byte("ab"), []byte("1")}, Record{[]byte("abc"), []byte("2")}, Record{[]byte("abcd"), []byte("3")})
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 60, 5000} {
		list := records(n)
		var file bytes.Buffer
		if err := Write(&file, list); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range list {
			got, found, err := r.Lookup(rec.Key)
			if err != nil || !found || !bytes.Equal(got, rec.Value) {
				t.Fatalf("%d records: Lookup(%.40q) = %.40q, %v, %v", n, rec.Key, got, found, err)
			}
		}
	}
}

// The C library's own checker and dumper agree with the writer.
func TestDatabaseToolsAcceptOurFiles(t *testing.T) {
	verify, err := exec.LookPath("db5.3_verify")
	if err != nil {
		t.Fatal("db5.3-util is not installed: run test/install-packages")
	}
	name := filepath.Join(t.TempDir(), "t.db")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	list := records(3000)
	if err := Write(f, list); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(verify, name).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("succeeded")) {
		t.Errorf("db5.3_verify: %v\n%s", err, out)
	}
	out, err := exec.Command("db5.3_dump", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(out, []byte("\n ")); got != 2*len(list) {
		t.Errorf("db5.3_dump shows %d items, want %d", got, 2*len(list))
	}
}

func FuzzReader(f *testing.F) {
	for _, name := range []string{"table-hash.db", "aliases-hash.db"} {
		content, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := NewReader(bytes.NewReader(content))
		if err != nil {
			return
		}
		r.Lookup([]byte("alice@example.com\x00"))
		n := 0
		r.Walk(func(key, value []byte) error {
			if n++; n > 10000 {
				return fmt.Errorf("enough")
			}
			return nil
		})
	})
}
