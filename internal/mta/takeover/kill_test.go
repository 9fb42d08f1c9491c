package takeover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// childVariable makes this program a process that takes over or exports, and
// kills itself: "there|back DIR STEP".
const childVariable = "DOVETAIL_TEST_TAKEOVER"

func TestMain(m *testing.M) {
	if task := os.Getenv(childVariable); task != "" {
		if err := child(strings.Fields(task)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(task []string) error {
	at, err := strconv.ParseInt(task[2], 10, 64)
	if err != nil {
		return err
	}
	var steps atomic.Int64
	step = func() {
		if steps.Add(1) == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	dir := task[1]
	s, err := queue.Open(filepath.Join(dir, queue.Subdir), &queue.Settings{}, nil)
	if err != nil {
		return err
	}
	if task[0] == "there" {
		r, err := Run(context.Background(), Config{Dir: dir, Store: s, Owner: os.Geteuid()})
		if err == nil && r.Left > 0 {
			err = fmt.Errorf("%+v", r)
		}
		return errors.Join(err, s.Close())
	}
	e := &exporter{layout: layout{dir: dir, depths: map[string]int{"deferred": 1, "defer": 1}}, store: s, warn: 7200e9}
	e.say = func(format string, args ...any) { err = fmt.Errorf(format, args...) }
	_, _, runErr := e.run(context.Background())
	return errors.Join(err, runErr, s.Close())
}

// killed runs a child that is killed at a step, and reports whether it was.
func killed(t *testing.T, task, dir string, at int) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", childVariable, task, dir, at))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("%s, to be killed at %d: %v\n%s", task, at, err, out)
	}
	return false
}

// TestKilled kills both ways again and again, until they come to their end: then
// everything is on the other side, once.
func TestKilled(t *testing.T) {
	dir := spool(t)
	if err := os.Mkdir(filepath.Join(dir, queue.Subdir), 0o700); err != nil {
		t.Fatal(err)
	}
	chance := rand.New(rand.NewPCG(1, 2))
	total := 0
	until := func(task string) {
		tries := 0
		for killed(t, task, dir, 1+chance.IntN(40+10*tries)) {
			total++
			if tries++; tries > 100 {
				t.Fatal("it never ends")
			}
		}
		for killed(t, task, dir, 1<<40) {
			t.Fatal("killed by somebody else")
		}
	}
	reference := spool(t)
	s := openStore(t, reference)
	take(t, reference, s)
	want := everything(t, s)

	for range 2 {
		until("there")
		s := openStore(t, dir)
		if diff := cmp.Diff(want, everything(t, s)); diff != "" {
			t.Fatalf("taken over (-want +got):\n%s", diff)
		}
		s.Close()
		if left := files(t, dir); len(left) > 0 {
			t.Fatalf("files left: %q", left)
		}
		until("back")
		s = openStore(t, dir)
		if n := s.Len(); n > 0 {
			t.Fatalf("%d messages stay", n)
		}
		s.Close()
		n := 0
		for _, path := range files(t, dir) {
			checkFile(t, filepath.Join(dir, path), path)
			if !strings.HasPrefix(path, "defer/") {
				n++
			}
		}
		if n != len(sampleIDs) {
			t.Fatalf("%d files of %d", n, len(sampleIDs))
		}
	}
	t.Logf("%d kills", total)
	if total < 12 {
		t.Errorf("%d kills only", total)
	}
}

// TestKilledBetween changes the way in the middle: a killed export, and the
// service starts, which takes everything over again; a killed takeover, and the
// mail goes back.
func TestKilledBetween(t *testing.T) {
	dir := spool(t)
	if err := os.Mkdir(filepath.Join(dir, queue.Subdir), 0o700); err != nil {
		t.Fatal(err)
	}
	reference := spool(t)
	s := openStore(t, reference)
	take(t, reference, s)
	want := everything(t, s)
	chance := rand.New(rand.NewPCG(3, 4))
	for range 12 {
		killed(t, []string{"there", "back"}[chance.IntN(2)], dir, 1+chance.IntN(160))
	}
	killed(t, "there", dir, 1<<40)
	s = openStore(t, dir)
	if diff := cmp.Diff(want, everything(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("files left: %q", left)
	}
	for _, name := range append(exported, logNames...) {
		if left, _ := names(filepath.Join(dir, queue.Subdir, stagingName, name)); len(left) > 0 {
			t.Errorf("left of an export in %s: %q", name, left)
		}
	}
}

// TestEachStep kills an export of one message, with a log and a recipient that is
// done, at every other of its steps.
func TestEachStep(t *testing.T) {
	for at := 1; ; at += 2 {
		dir := t.TempDir()
		name := "multi-one-done.deferred"
		put(t, filepath.Join(dir, queuefile.Path("deferred", sampleIDs[name], 1)), sample(t, name), 0o700, due)
		put(t, filepath.Join(dir, queuefile.Path("defer", sampleIDs[name], 1)), sample(t, "multi-one-done.defer"), 0o600, due)
		s := openStore(t, dir)
		take(t, dir, s)
		want := everything(t, s)
		s.Close()
		done := !killed(t, "back", dir, at)
		if !done {
			killed(t, "back", dir, 1<<40)
		}
		if n := len(files(t, dir)); n != 2 {
			t.Fatalf("killed at step %d: %d files", at, n)
		}
		s = openStore(t, dir)
		if s.Len() != 0 {
			t.Fatalf("killed at step %d: %d messages stay", at, s.Len())
		}
		take(t, dir, s)
		if diff := cmp.Diff(want, everything(t, s)); diff != "" {
			t.Fatalf("killed at step %d (-want +got):\n%s", at, diff)
		}
		if done {
			t.Logf("%d steps", at-1)
			return
		}
	}
}
