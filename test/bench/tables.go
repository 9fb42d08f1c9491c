package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

const (
	lookupEntries = 200_000
	lookups       = 1_000_000
	// lookupStride is prime to lookupEntries: it visits all entries, each far from
	// the one before.
	lookupStride = 77_777
)

// lookUps measures how fast a table of a type is asked with postmap -q - for keys of which each
// third is not there. Postfix's own postmap makes the table for both.
func lookUps(kind string) func(*env, harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 {
		dir := harness.Dir(e)
		table, keys := filepath.Join(dir, "table"), filepath.Join(dir, "keys")
		e.writeLines(table, lookupEntries, func(n int) string { return fmt.Sprintf("user%d@example%d.test result%d@relay.test", n, n%1000, n) })
		e.writeLines(keys, lookups, func(n int) string {
			n = n * lookupStride % (lookupEntries * 3 / 2)
			return fmt.Sprintf("user%d@example%d.test", n, n%1000)
		})
		harness.Run(e, "", "postmap", kind+":"+table)
		tool := []string{"/usr/sbin/postmap"}
		if p == harness.Dovetail {
			tool = []string{harness.Binary(e), "postmap"}
		}
		e.query(tool, kind+":"+table, keys) // into the cache
		begin := time.Now()
		found := e.query(tool, kind+":"+table, keys)
		elapsed := time.Since(begin)
		if want := e.present(); found != want {
			e.Fatalf("%d keys were found in %s, %d are there", found, table, want)
		}
		return []float64{lookups / elapsed.Seconds()}
	}
}

// present is how many of the keys asked for are in the table.
func (e *env) present() int {
	n := 0
	for i := range lookups {
		if i*lookupStride%(lookupEntries*3/2) < lookupEntries {
			n++
		}
	}
	return n
}

// query asks for all keys of a file and returns how many were found.
func (e *env) query(tool []string, table, keys string) (found int) {
	in, err := os.Open(keys)
	e.check(err)
	defer in.Close()
	cmd := exec.CommandContext(e.ctx, tool[0], append(tool[1:], "-q", "-", table)...)
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	out, err := cmd.StdoutPipe()
	e.check(err)
	e.check(cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		found++
	}
	e.check(cmd.Wait())
	return found
}

// writeLines makes a file of n lines.
func (e *env) writeLines(path string, n int, line func(int) string) {
	f, err := os.Create(path)
	e.check(err)
	w := bufio.NewWriter(f)
	for i := range n {
		w.WriteString(line(i)) //nolint:errcheck // Flush tells
		w.WriteByte('\n')      //nolint:errcheck // as above
	}
	e.check(w.Flush())
	e.check(f.Close())
}
