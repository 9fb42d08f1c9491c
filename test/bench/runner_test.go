package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

func TestTable(t *testing.T) {
	results := []*result{
		{row{"rate", "messages/s", times(4)}, map[harness.Program][]float64{harness.Original: {100, 300, 200}, harness.Dovetail: {500, 600, 1000}}},
		{row{"slow", "messages/s", times(9)}, map[harness.Program][]float64{harness.Original: {100}, harness.Dovetail: {899}}},
		{row{"memory", "KB", atMost(30)}, map[harness.Program][]float64{harness.Original: {570}, harness.Dovetail: {28.5}}},
		{row{"start", "s", atMost(5)}, map[harness.Program][]float64{harness.Dovetail: {5.1}}},
		{row{"for comparison", "logins/s", goal{}}, map[harness.Program][]float64{harness.Original: {1000}, harness.Dovetail: {2000}}},
	}
	var b strings.Builder
	printTable(&b, "/tmp on ext4", results)
	const want = `Mail in /tmp on ext4.

| Benchmark | Unit | Original | Dovetail | Ratio | Goal | |
|---|---|---:|---:|---:|---:|---|
| rate | messages/s | 200 | 600 | 5.0× | ≥ 4× | reached |
| slow | messages/s | 100 | 899 | 9.0× | ≥ 9× | **missed** |
| memory | KB | 570 | 28.5 | 20.0× | ≤ 30 | reached |
| start | s |  | 5.1 |  | ≤ 5 | **missed** |
| for comparison | logins/s | 1000 | 2000 | 2.0× |  |  |
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A log is read while it grows, and lines may be complete only the next time.
func TestWaitSent(t *testing.T) {
	e := &env{ctx: t.Context(), duration: time.Millisecond}
	defer e.close()
	path := filepath.Join(t.TempDir(), "log")
	line := "Nov 22 10:00:00 mail postfix/discard[1]: A1: to=<a@example.test>, status=sent (none)\n"
	harness.Write(t, path, line+line[:len(line)-8])
	log := openLog(e, path)
	log.waitSent(e, 1)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line[len(line)-8:] + strings.Repeat(line, 1000)); err != nil {
		t.Fatal(err)
	}
	log.waitSent(e, 1002)
}

func TestDescendants(t *testing.T) {
	p := harness.Start(t, nil, "sh", "-c", "trap 'kill $!' TERM; sleep 60 & wait")
	harness.Eventually(t, "the child", func() bool { return len(descendants(p.Cmd.Process.Pid)) == 2 })
	if pss(p) == 0 {
		t.Error("a process without memory")
	}
	if all := descendants(os.Getpid()); len(all) < 3 || all[0].pid != os.Getpid() {
		t.Errorf("%v", all)
	}
}
