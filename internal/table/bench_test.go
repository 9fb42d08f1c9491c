package table

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// benchKeys is how many keys the tables of benchmarks have.
const benchKeys = 100_000

func benchTable(b *testing.B, typ string) string {
	b.Helper()
	spec := typ + ":" + filepath.Join(b.TempDir(), "table")
	records := make(map[string]string, benchKeys)
	for i := range benchKeys {
		records[fmt.Sprintf("user%d@example.com", i)] = fmt.Sprint("box", i)
	}
	build(b, spec, BuildOptions{}, records)
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(spec[len(typ)+1:]+indexFormats[typ].suffix, past, past); err != nil {
		b.Fatal(err)
	}
	return spec
}

// benchKey is one of the keys, in an order that no cache of neighbors helps with.
func benchKey(i int) string { return fmt.Sprintf("user%d@example.com", i*7919%benchKeys) }

// BenchmarkLookup is our lookups.
func BenchmarkLookup(b *testing.B) {
	for _, f := range formats {
		b.Run(f.typ, func(b *testing.B) {
			table, err := Open(benchTable(b, f.typ), Options{})
			if err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				if _, found, err := table.Lookup(context.Background(), benchKey(i)); err != nil || !found {
					b.Fatal(found, err)
				}
			}
		})
	}
}

// BenchmarkPostmap is Postfix's lookups in the same tables, by the C libraries: one postmap
// is given all keys.
func BenchmarkPostmap(b *testing.B) {
	for _, f := range formats {
		b.Run(f.typ, func(b *testing.B) {
			spec := benchTable(b, f.typ)
			var keys strings.Builder
			for i := range b.N {
				fmt.Fprintln(&keys, benchKey(i))
			}
			cmd := exec.Command("postmap", "-q", "-", spec)
			cmd.Stdin = strings.NewReader(keys.String())
			b.ResetTimer()
			if err := cmd.Run(); err != nil {
				b.Fatalf("postmap: %v: run test/install-packages", err)
			}
		})
	}
}
