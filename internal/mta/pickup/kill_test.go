package pickup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/pickup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/takeover"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// childVariable makes this program a mail system that kills itself: "DIR STEP".
const childVariable = "DOVETAIL_TEST_PICKUP"

func TestMain(m *testing.M) {
	if task := os.Getenv(childVariable); task != "" {
		if err := serve(strings.Fields(task)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// ledger is the file that deliveries are written to.
const ledger = "delivered"

// serve starts on a queue directory as the mta does, takes what is in the maildrop, and
// delivers each message the moment it is queued, and what was queued before. At the
// given step it kills itself; no delivery is under way then.
func serve(task []string) error {
	dir := task[0]
	at, err := strconv.Atoi(task[1])
	if err != nil {
		return err
	}
	var mu sync.Mutex
	steps := 0
	pickup.SetStep(func() {
		mu.Lock()
		defer mu.Unlock()
		if steps++; steps == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	sub := filepath.Join(dir, queue.Subdir)
	if err := os.MkdirAll(sub, 0o700); err != nil {
		return err
	}
	store, err := queue.Open(sub, &queue.Settings{}, nil)
	if err != nil {
		return err
	}
	sink := maillog.NewFile(os.Stderr, maillog.Postfix, "mail")
	log := maillog.New(sink, "postfix/pickup[1]")
	if _, err := takeover.Run(context.Background(), takeover.Config{Dir: dir, Store: store, Log: log, Owner: os.Geteuid()}); err != nil {
		return err
	}
	var failed error
	deliver := func(m *queue.Message) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, write(filepath.Join(dir, ledger), m.Recipients[0].Address))
		store.Remove(m)
		failed = errors.Join(failed, store.Sync())
	}
	for _, info := range store.List() {
		m, err := store.Load(info.ID)
		if err != nil {
			return err
		}
		deliver(m)
	}
	store.OnArrival(deliver)
	p, err := newPickup(dir, store, log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	stop = onEmpty(dir, stop)
	p.Run(ctx, nil, 10*time.Millisecond)
	stop()
	return errors.Join(failed, store.Close())
}

// onEmpty calls stop when there is nothing in the maildrop.
func onEmpty(dir string, stop func()) func() {
	go func() {
		for {
			if e, err := os.ReadDir(filepath.Join(dir, pickup.QueueName)); err != nil || len(e) == 0 {
				stop()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return stop
}

func newPickup(dir string, store *queue.Store, log *maillog.Logger) (*pickup.Pickup, error) {
	main, err := postfix.Parse(dir, "compatibility_level = 3.6\nmyhostname = mail.example.com\nmydestination = example.com\n"+
		"header_checks = regexp:{{/^Received:/ IGNORE}, {/^Subject: refuse/ REJECT no}}\nqueue_directory = "+dir)
	if err != nil {
		return nil, err
	}
	open, err := resolve.NewOpener(main, table.Options{})
	if err != nil {
		return nil, err
	}
	res, err := resolve.New(main, open, nil)
	if err != nil {
		return nil, err
	}
	clean, err := cleanup.New(cleanup.Config{
		Main: main, Resolver: res, Log: log, Tables: open, Queue: cleanup.FromStore(store), Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	return pickup.New(pickup.Config{
		Main: main, Cleanup: clean, Queue: cleanup.FromStore(store), Resolver: res, Tables: open,
		Store: store, Log: log, Lock: new(sync.Mutex),
	})
}

func write(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, line+"\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// submit leaves messages in the maildrop. One of them cleanup refuses, so that it is
// returned: also that only once.
func submit(t *testing.T, dir string) (want []string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, pickup.QueueName), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, subject := range []string{"a", "refuse", "b"} {
		rcpt := fmt.Sprintf("%s%d@example.com", subject, i)
		want = append(want, rcpt)
		f, err := os.OpenFile(filepath.Join(dir, pickup.QueueName, fmt.Sprintf("8EB89A1C75%d", i)), os.O_RDWR|os.O_CREATE, 0o744)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := queuefile.NewWriter(f)
		for _, r := range []struct {
			typ  byte
			text string
		}{
			{'T', fmt.Sprintf("%d %d", time.Now().Unix(), i)}, {'S', "sender@example.com"}, {'R', rcpt},
			{'M', ""}, {'N', "Subject: " + subject}, {'N', ""}, {'N', "text"}, {'X', ""}, {'E', ""},
		} {
			if err := w.Write(r.typ, []byte(r.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(want)
	return want
}

// TestKilled kills the mail system at each step of what it does with submissions,
// also those between the commit of a message and the removal of its file, while the
// message is delivered as soon as it can be. The next one finishes; then each message
// was delivered once. Received headers are removed: nothing else may tell whose file it is.
func TestKilled(t *testing.T) {
	const never = 1 << 30
	for at := 1; ; at++ {
		dir := t.TempDir()
		want := submit(t, dir)
		died := killed(t, dir, at)
		if died {
			killed(t, dir, never)
		}
		b, err := os.ReadFile(filepath.Join(dir, ledger))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Fields(string(b))
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("killed at step %d: delivered (-want +got):\n%s", at, diff)
		}
		left, err := os.ReadDir(filepath.Join(dir, pickup.QueueName))
		if err != nil || len(left) > 0 {
			t.Errorf("killed at step %d: %v, %d files left in the maildrop", at, err, len(left))
		}
		if !died {
			if at < 5*len(want) {
				t.Errorf("%d steps only", at-1)
			}
			return
		}
	}
}

// killed runs a mail system that is killed at a step, and reports whether it was.
func killed(t *testing.T, dir string, at int) bool {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", childVariable, dir, at))
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("to be killed at %d: it hangs\n%s", at, out)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("to be killed at %d: %v\n%s", at, err, out)
	}
	return false
}
