package verify

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// A bench is a service whose probes go nowhere.
type bench struct {
	*Service
	dir  string
	mu   sync.Mutex
	now  time.Time
	sent []string // probes
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// took waits for the probes under way and returns those that were sent.
func (b *bench) took() []string {
	b.probes.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	sent := b.sent
	b.sent = nil
	return sent
}

// probe is one on its way into the queue.
type probe struct {
	*queue.Writer
	b *bench
}

func (p probe) Commit(_ context.Context, env *queue.Envelope) error {
	p.Abort()
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	what := env.Sender + " " + env.Recipients[0].Address
	if !env.Verify {
		what += " for real!"
	}
	p.b.sent = append(p.b.sent, what)
	return nil
}

func newBench(t *testing.T, dir, config string) *bench {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), "compatibility_level = 3.6\nmyhostname = mail.example.test\nmydestination =\ninet_interfaces = 127.0.0.1\n"+
		"data_directory = "+dir+"\n"+config)
	if err != nil {
		t.Fatal(err)
	}
	open, err := resolve.NewOpener(main, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := resolve.New(main, open, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := queue.Open(t.TempDir(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	b := &bench{dir: dir, now: time.Unix(1795341731, 0)}
	cl, err := cleanup.New(cleanup.Config{Main: main, Resolver: res, Queue: func(now time.Time) (cleanup.Writer, error) {
		w, err := store.NewMessage(now)
		return probe{w, b}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if b.Service, err = New(Config{Main: main, Cleanup: cl, Now: b.clock}); err != nil {
		t.Fatal(err)
	}
	return b
}

const probed = "double-bounce@mail.example.test u@remote.test"

// A step is a question, or what happens between questions.
type step struct {
	pass   time.Duration
	result *deliver.Action
	want   Answer
	probes []string
}

func is(a deliver.Action) *deliver.Action { return &a }

// TestLife follows the record of one address.
func TestLife(t *testing.T) {
	unknown := Answer{Unknown, "Address verification in progress"}
	good, bad, later := Answer{Deliverable, "said"}, Answer{Undeliverable, "said"}, Answer{Deferred, "said"}
	for _, c := range []struct {
		name, config string
		steps        []step
	}{
		{"good", "", []step{
			{0, nil, unknown, []string{probed}},
			{time.Minute, nil, unknown, nil},
			{0, is(deliver.Relayed), good, nil},
			{6 * 24 * time.Hour, nil, good, nil},
			{2 * 24 * time.Hour, nil, good, []string{probed}}, // refreshed
			{time.Minute, nil, good, nil},
			{time.Hour, is(deliver.Bounced), good, []string{probed}}, // one failure changes nothing
			{24 * 24 * time.Hour, nil, unknown, []string{probed}},
			{0, is(deliver.Bounced), bad, nil},
		}},
		{"bad", "", []step{
			{0, nil, unknown, []string{probed}},
			{0, is(deliver.Bounced), bad, nil},
			{2 * time.Hour, nil, bad, nil},
			{2 * time.Hour, nil, bad, []string{probed}},
			{0, is(deliver.Relayed), good, nil},
		}},
		{"temporary", "", []step{
			{0, nil, unknown, []string{probed}},
			{0, is(deliver.Deferred), later, nil},
			{4 * 24 * time.Hour, nil, unknown, []string{probed}},
		}},
		{"lost probe", "", []step{
			{0, nil, unknown, []string{probed}},
			{probeTTL * time.Second, nil, unknown, nil},
			{time.Second, nil, unknown, []string{probed}},
		}},
		{"no negative cache", "address_verify_negative_cache = no\n", []step{
			{0, nil, unknown, []string{probed}},
			{0, nil, unknown, []string{probed}},
			{0, is(deliver.Relayed), good, nil},
		}},
		{"null sender", "address_verify_sender =\n", []step{{0, nil, unknown, []string{" u@remote.test"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, t.TempDir(), c.config)
			for i, s := range c.steps {
				b.pass(s.pass)
				if s.result != nil {
					b.Result("U@remote.test", *s.result, "said")
				}
				if got := b.Query(t.Context(), "u@Remote.test"); got != s.want {
					t.Errorf("step %d: %+v, want %+v", i, got, s.want)
				}
				sent := b.took()
				for k := range sent {
					sent[k] = strings.ToLower(sent[k])
				}
				if diff := cmp.Diff(s.probes, sent); diff != "" {
					t.Errorf("step %d, probes (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

// TestCacheIsPostfixs shows that the results are there after a restart, and that
// Postfix reads the file.
func TestCacheIsPostfixs(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir, "")
	b.Result("good@remote.test", deliver.Relayed, "250 2.1.5 Ok")
	b.Result("bad@remote.test", deliver.Bounced, "host said:\r\n550 who?")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Run(ctx)
	for key, want := range map[string]string{
		"good@remote.test": "0:0:1795341731:250 2.1.5 Ok", "bad@remote.test": "2:0:1795341731:host said:??550 who?",
	} {
		got := harness.Run(t, "", "/usr/sbin/postmap", "-q", key, "btree:"+filepath.Join(dir, "verify_cache"))
		if strings.TrimSpace(got) != want {
			t.Errorf("postmap -q %s: %q, want %q", key, got, want)
		}
	}
	again := newBench(t, dir, "")
	if a := again.Query(t.Context(), "bad@remote.test"); a != (Answer{Undeliverable, "host said:??550 who?"}) {
		t.Errorf("after a restart: %+v", a)
	}
	again.pass(40 * 24 * time.Hour)
	again.purge()
	if n := len(again.entries); n != 0 {
		t.Errorf("%d records left", n)
	}
}

// TestPoll shows that a result is told as soon as it is there.
func TestPoll(t *testing.T) {
	b := newBench(t, t.TempDir(), "")
	if a := b.Poll(t.Context(), "u@remote.test", 1, time.Hour); a.Status != Unknown {
		t.Errorf("%+v", a)
	}
	go b.Result("u@remote.test", deliver.Relayed, "yes")
	if a := b.Poll(t.Context(), "u@remote.test", 3, time.Hour); a != (Answer{Deliverable, "yes"}) {
		t.Errorf("%+v", a)
	}
}

func TestSender(t *testing.T) {
	b := newBench(t, t.TempDir(), "address_verify_sender = probe@Example.test\naddress_verify_sender_ttl = 3600s\n")
	s := b.Sender()
	if !strings.HasPrefix(s, "probe") || !strings.HasSuffix(s, "@Example.test") || len(s) <= len("probe@Example.test") {
		t.Errorf("sender %q", s)
	}
	b.pass(time.Hour)
	if b.Sender() == s || !b.IsSender(s) {
		t.Errorf("an hour later: %q", b.Sender())
	}
	b.pass(2 * time.Hour)
	if b.IsSender(s) || b.IsSender("u@example.test") {
		t.Errorf("%q is a sender for ever", s)
	}
}

func FuzzEntry(f *testing.F) {
	for _, s := range []string{"0:0:1795341731:250 2.1.5 Ok", "3:1795341731:0:x:y", "", "9:1:1:", "-1:1:1:", "0:0:0:never"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := parseEntry(s)
		if !ok {
			return
		}
		again, ok := parseEntry(e.format())
		if !ok || again != e {
			t.Errorf("%q: %+v, then %+v", s, e, again)
		}
	})
}

// TestResultsSurviveReload shows that a new configuration goes on with the results.
func TestResultsSurviveReload(t *testing.T) {
	b := newBench(t, t.TempDir(), "")
	b.Result("u@remote.test", deliver.Relayed, "yes")
	next, err := New(Config{Main: mustMain(t, b.dir), Cleanup: b.cleanup, Now: b.clock, Previous: b.Service})
	if err != nil {
		t.Fatal(err)
	}
	b.Result("v@remote.test", deliver.Relayed, "a probe of before")
	var got []Status
	for _, a := range []string{"u@remote.test", "v@remote.test"} {
		got = append(got, next.Query(t.Context(), a).Status)
	}
	if !slices.Equal(got, []Status{Deliverable, Deliverable}) {
		t.Errorf("%v", got)
	}
}

func mustMain(t *testing.T, dir string) *postfix.Main {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), "compatibility_level = 3.6\nmyhostname = mail.example.test\ndata_directory = "+dir+"\n")
	if err != nil {
		t.Fatal(err)
	}
	return main
}
