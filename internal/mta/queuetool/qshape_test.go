package queuetool

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// TestQshapeIsPostfix has both programs show the same queue.
func TestQshapeIsPostfix(t *testing.T) {
	original, err := exec.LookPath("qshape")
	if err != nil {
		t.Fatal("qshape is not installed: run test/install-packages")
	}
	dir := t.TempDir()
	now := time.Now()
	var entries []Entry
	for i := range 60 {
		e := Entry{Queue: "deferred", ID: fmt.Sprintf("ABCDEF%04d", i), Sender: fmt.Sprintf("s%d@Sender%d.example", i, i%7)}
		e.Arrival = now.Add(-time.Duration(i*i*i) * 3 * time.Second).Unix()
		for k := range i % 4 {
			e.Recipients = append(e.Recipients, Recipient{Address: fmt.Sprintf("r%d@host%d.sub%d.%s.test", k, i%6, i%2, strings.Repeat("long", i%15))})
		}
		e.Recipients = append(e.Recipients, Recipient{Address: "x@plain.test"})
		if i%9 == 0 {
			e.Sender = "MAILER-DAEMON"
		}
		entries = append(entries, e)
		writeQueueFile(t, filepath.Join(dir, e.ID), &e)
	}
	for _, args := range []string{"", "-s", "-p", "-p -m 2", "-l", "-l -b 3", "-b 5 -t 1", "-w 120", "-s -p -m 1", "-b 1", "-b 20 -w 90"} {
		t.Run(args, func(t *testing.T) {
			want, err := exec.Command(original, append(strings.Fields(args), dir)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, want)
			}
			s := &shape{buckets: 10, tick: 5, minimum: 5, width: 80, queues: []string{"deferred"}, now: now,
				counts: map[string][]int{}, subdomains: map[string]int{}}
			cmd := newCommand("qshape", 255, os.Stderr)
			cmd.Options(strings.Fields(args), "lhc:psw:b:t:m:n:N:", func(opt byte, value string) { s.option(opt, value) })
			for i := range entries {
				s.add(&entries[i])
			}
			var got strings.Builder
			if err := s.print(&got); err != nil {
				t.Fatal(err)
			}
			// Domains with the same counts are in no order.
			if diff := cmp.Diff(sortedLines(string(want)), sortedLines(got.String())); diff != "" {
				t.Errorf("qshape (-), ours (+):\n%s", diff)
			}
		})
	}
}

func sortedLines(s string) []string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return lines
}

// writeQueueFile writes an entry as Postfix has it.
func writeQueueFile(t *testing.T, path string, e *Entry) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := queuefile.NewWriter(f)
	sender := e.Sender
	if sender == "MAILER-DAEMON" {
		sender = ""
	}
	records := []struct {
		typ  byte
		text string
	}{
		{'C', fmt.Sprintf("%15d %15d %15d %15d %15d %15d", 0, 0, len(e.Recipients), 0, 0, 0)},
		{'T', fmt.Sprintf("%d 0", e.Arrival)},
		{'S', sender},
	}
	for _, r := range e.Recipients {
		records = append(records, struct {
			typ  byte
			text string
		}{'R', r.Address})
	}
	for _, r := range records {
		if err := w.Write(r.typ, []byte(r.text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, typ := range []byte("MXE") {
		if err := w.Write(typ, nil); err != nil {
			t.Fatal(err)
		}
	}
	if fl, ok := any(w).(interface{ Flush() error }); ok {
		if err := fl.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}
