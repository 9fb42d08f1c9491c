package qmgr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A bench is a scheduler with everything around it made up.
type bench struct {
	t      testing.TB
	store  *queue.Store
	s      *Scheduler
	sink   *maillog.Sink
	logged string // file
	agent  *agent
	notes  *notes
	config Config
	end    func() // of the scheduler
	stop   func() // of everything

	mu  sync.Mutex
	now time.Time
}

// clock is the bench's time; it moves only when a test says so.
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

// routes sends each recipient to the transport named by its domain's first
// label, "smtp" if there is no such transport.
type routes struct{}

func (routes) Resolve(_ context.Context, _, rcpt string) (resolve.Result, error) {
	_, domain := smtp.SplitAddress(rcpt)
	res := resolve.Result{Transport: "smtp", Nexthop: domain, Recipient: rcpt}
	switch {
	case strings.HasPrefix(domain, "local."):
		res.Transport, res.Class = "local", resolve.Local
	case strings.HasPrefix(domain, "nowhere."):
		res.Transport = "nowhere"
	case strings.HasPrefix(domain, "broken."):
		return res, errors.New("table is broken")
	}
	return res, nil
}

// An agent does what the local part of the recipient says.
type agent struct {
	mu       sync.Mutex
	requests []string
	busy     map[string]int
	most     map[string]int
	gate     chan struct{} // deliveries to "wait@" end when it is closed
}

func (a *agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	a.mu.Lock()
	a.requests = append(a.requests, fmt.Sprintf("%s:%s %d", r.Transport, r.Nexthop, len(r.Recipients)))
	a.busy[r.Nexthop]++
	a.most[r.Nexthop] = max(a.most[r.Nexthop], a.busy[r.Nexthop])
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.busy[r.Nexthop]--
		a.mu.Unlock()
	}()
	for i, rcpt := range r.Recipients {
		user, _ := smtp.SplitAddress(rcpt.Address)
		st := deliver.Status{Action: deliver.Relayed, Enhanced: smtp.Enhanced{2, 0, 0}, Text: "250 2.0.0 Ok", Relay: "mx[192.0.2.1]:25"}
		switch strings.TrimRight(user, "0123456789") {
		case "wait":
			select {
			case <-a.gate:
			case <-ctx.Done():
			}
		case "bounce":
			st = deliver.Status{
				Action: deliver.Bounced, Enhanced: smtp.Enhanced{5, 1, 1}, Text: "no such user", Relay: "mx[192.0.2.1]:25",
				RemoteMTA: "dns; mx", RemoteCode: "smtp; 550 5.1.1 no such user",
			}
		case "defer":
			st = deliver.Status{Enhanced: smtp.Enhanced{4, 2, 0}, Text: "try later", Relay: "mx[192.0.2.1]:25"}
		case "dead":
			st = deliver.Status{Enhanced: smtp.Enhanced{4, 4, 1}, Text: "connect to mx[192.0.2.1]:25: Connection refused", Relay: "none", Dead: true}
		case "panic":
			panic("agent is broken")
		case "silent":
			continue
		case "final":
			st.Action = deliver.Final
		case "passed":
			st.Action = deliver.Delivered
		}
		report(i, st)
	}
}

// notes remembers notifications.
type notes struct {
	mu   sync.Mutex
	sent []string
	fail atomic.Bool
}

func (n *notes) add(what string, m *queue.Message, which []int) error {
	if n.fail.Load() {
		return errors.New("queue is full")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, i := range which {
		o := &m.Outcomes[i]
		n.sent = append(n.sent, fmt.Sprintf("%s %s %s %s %s", what, m.Recipients[i].Address, o.Action, o.DSN, o.Text))
	}
	return nil
}

func (n *notes) Failure(_ context.Context, m *queue.Message, which []int) error {
	return n.add("failure", m, which)
}
func (n *notes) Delay(_ context.Context, m *queue.Message, which []int) error {
	return n.add("delay", m, which)
}
func (n *notes) Success(_ context.Context, m *queue.Message, which []int) error {
	return n.add("success", m, which)
}

func (n *notes) Trace(_ context.Context, m *queue.Message, which []int) error {
	return n.add("trace", m, which)
}

func (n *notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	sent := n.sent
	n.sent = nil
	return sent
}

// newBench starts a scheduler with the parameters of a main.cf.
func newBench(t testing.TB, mainCF string) *bench {
	t.Helper()
	return newBenchWith(t, mainCF, func(*Config) {})
}

// newBenchWith is newBench with a configuration that is changed before.
func newBenchWith(t testing.TB, mainCF string, change func(*Config)) *bench {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), "myhostname = mail.example.com\nmydomain = example.com\n"+mainCF)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, notes: new(notes), now: time.Unix(1795341731, 0)}
	b.agent = &agent{busy: make(map[string]int), most: make(map[string]int), gate: make(chan struct{})}
	if b.store, err = queue.Open(t.TempDir(), nil, nil); err != nil {
		t.Fatal(err)
	}
	b.logged = filepath.Join(t.TempDir(), "log")
	f, err := os.Create(b.logged)
	if err != nil {
		t.Fatal(err)
	}
	b.sink = maillog.NewFile(f, maillog.Postfix, "mail")
	transports := map[string]Transport{
		"smtp":  {Agent: b.agent, Log: maillog.New(b.sink, "postfix/smtp[1]"), Processes: 100},
		"local": {Agent: b.agent, Log: maillog.New(b.sink, "postfix/local[1]")},
		"retry": {Agent: retryAgent{}, Log: maillog.New(b.sink, "postfix/error[1]")},
	}
	b.config = Config{
		Main: main, Store: b.store, Resolver: routes{}, Transports: transports, Notifier: b.notes,
		Log: maillog.New(b.sink, "postfix/qmgr[1]"), Now: b.clock,
	}
	change(&b.config)
	if b.s, err = New(b.config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.s.Run(ctx)
	}()
	b.end = func() {
		cancel()
		<-done
	}
	b.stop = sync.OnceFunc(func() {
		b.end()
		b.store.Close()
		b.sink.Close()
	})
	t.Cleanup(b.stop)
	b.until("start", func() bool { b.s.mu.Lock(); defer b.s.mu.Unlock(); return b.s.running })
	return b
}

// retryAgent is as retry(8).
type retryAgent struct{}

func (retryAgent) Deliver(_ context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	dsn, n := smtp.ParseEnhanced(r.Nexthop)
	for i := range r.Recipients {
		report(i, deliver.Status{Enhanced: dsn, Text: strings.TrimSpace(r.Nexthop[n:]), Relay: "none"})
	}
}

func (b *bench) send(rcpts ...string) string {
	b.t.Helper()
	env := &queue.Envelope{Sender: "sender@example.com"}
	for _, r := range rcpts {
		env.Recipients = append(env.Recipients, queue.Recipient{Address: r, Original: r})
	}
	return b.sendEnvelope(env)
}

func (b *bench) sendEnvelope(env *queue.Envelope) string {
	b.t.Helper()
	w, err := b.store.NewMessage(b.clock())
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := w.Write([]byte("Subject: test\r\n\r\nbody\r\n")); err != nil {
		b.t.Fatal(err)
	}
	if env.Arrival.IsZero() {
		env.Arrival = b.clock()
	}
	id := w.ID()
	if err := w.Commit(context.Background(), env); err != nil {
		b.t.Fatal(err)
	}
	return id
}

// until waits for a condition.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: did not happen\n%s", what, strings.Join(b.log(), "\n"))
		}
		time.Sleep(time.Millisecond)
	}
}

func (b *bench) settled() {
	b.t.Helper()
	b.until("end of all deliveries", func() bool { return b.s.ActiveCount() == 0 })
}

// scanNow looks for due messages and waits for their deliveries.
func (b *bench) scanNow() {
	b.t.Helper()
	b.s.look(scan{})
	b.settled()
}

var (
	stamp  = regexp.MustCompile(`^\S+ +\d+ \S+ \S+ `)
	delays = regexp.MustCompile(`delay=[\d.]+, delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+`)
)

// log returns the lines without time and host.
func (b *bench) log() []string {
	b.sink.Flush()
	text, err := os.ReadFile(b.logged)
	if err != nil {
		b.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, stamp.ReplaceAllString(strings.TrimSuffix(line, "\n"), ""))
	}
	return lines
}

// about returns the log lines about a message, without its ID and times.
func (b *bench) about(id string) []string {
	var lines []string
	for _, line := range b.log() {
		if strings.Contains(line, id) {
			line = strings.ReplaceAll(line, id, "ID")
			lines = append(lines, delays.ReplaceAllString(line, "delay=, delays="))
		}
	}
	return lines
}

func (b *bench) wantLog(id string, want ...string) {
	b.t.Helper()
	b.until("log", func() bool { return len(b.about(id)) >= len(want) })
	if diff := cmp.Diff(want, b.about(id)); diff != "" {
		b.t.Error(diff)
	}
}

func TestSent(t *testing.T) {
	b := newBench(t, "")
	id := b.sendEnvelope(&queue.Envelope{Sender: "sender@example.com", Recipients: []queue.Recipient{
		{Address: "user@dest.example", Original: "alias@example.com"},
	}})
	b.settled()
	b.wantLog(id,
		"postfix/qmgr[1]: ID: from=<sender@example.com>, size=23, nrcpt=1 (queue active)",
		"postfix/smtp[1]: ID: to=<user@dest.example>, orig_to=<alias@example.com>, relay=mx[192.0.2.1]:25, delay=, delays=, dsn=2.0.0, status=sent (250 2.0.0 Ok)",
		"postfix/qmgr[1]: ID: removed",
	)
	if b.store.Len() != 0 {
		t.Error("the message is still queued")
	}
}

func TestRecipientsShareDeliveries(t *testing.T) {
	b := newBench(t, "default_destination_recipient_limit = 3\n")
	var rcpts []string
	for i := range 7 {
		rcpts = append(rcpts, fmt.Sprintf("u%d@a.example", i))
	}
	rcpts = append(rcpts, "u@b.example", "x@local.example", "y@local.example")
	b.send(rcpts...)
	b.settled()
	got := make(map[string]int)
	for _, r := range b.agent.requests {
		got[r]++
	}
	want := map[string]int{"smtp:a.example 3": 2, "smtp:a.example 1": 1, "smtp:b.example 1": 1, "local:local.example 1": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConcurrencyLimit(t *testing.T) {
	b := newBench(t, "initial_destination_concurrency = 3\nsmtp_destination_concurrency_limit = 4\n")
	for range 20 {
		b.send("wait@dest.example")
	}
	busy := func() int {
		b.agent.mu.Lock()
		defer b.agent.mu.Unlock()
		return b.agent.busy["dest.example"]
	}
	b.until("three deliveries", func() bool { return busy() == 3 })
	close(b.agent.gate)
	b.settled()
	if most := b.agent.most["dest.example"]; most > 4 {
		t.Errorf("%d deliveries at once, want at most 4", most)
	}
}

func TestBounce(t *testing.T) {
	b := newBench(t, "")
	b.notes.fail.Store(true)
	id := b.sendEnvelope(&queue.Envelope{Sender: "s@example.com", Recipients: []queue.Recipient{
		{Address: "bounce@dest.example"},
		{Address: "bounce2@dest.example", Notify: queue.NotifyNever},
		{Address: "bounce3@dest.example", Notify: queue.NotifySuccess},
		{Address: "ok@dest.example", Notify: queue.NotifySuccess},
		{Address: "passed@dest.example", Notify: queue.NotifySuccess},
		{Address: "final@dest.example", Notify: queue.NotifySuccess},
		{Address: "final2@dest.example"},
	}})
	b.settled()
	if inf, ok := b.store.Lookup(id); !ok || inf.Queue != queue.Waiting {
		t.Fatal("a message whose bounce failed is not deferred")
	}
	b.notes.fail.Store(false)
	requests := len(b.agent.requests)
	b.pass(time.Hour)
	b.scanNow()
	if len(b.agent.requests) != requests {
		t.Error("delivered again though only the notifications were left")
	}
	// Whom of the failed to name is for the bouncer to decide: the postmaster may
	// want to know of those that the sender does not want to hear of.
	want := []string{
		"failure bounce@dest.example failed 5.1.1 no such user",
		"failure bounce2@dest.example failed 5.1.1 no such user",
		"failure bounce3@dest.example failed 5.1.1 no such user",
		"success ok@dest.example relayed 2.0.0 delivery via mx[192.0.2.1]:25: 250 2.0.0 Ok",
		"success final@dest.example delivered 2.0.0 delivery via mx[192.0.2.1]:25: 250 2.0.0 Ok",
	}
	if diff := cmp.Diff(want, b.notes.take()); diff != "" {
		t.Error(diff)
	}
	if b.store.Len() != 0 {
		t.Error("the message is still queued")
	}
}

func TestDeferAndExpire(t *testing.T) {
	b := newBench(t, "maximal_queue_lifetime = 1d\ndelay_warning_time = 1h\nminimal_backoff_time = 300s\nmaximal_backoff_time = 4000s\n")
	id := b.send("defer@dest.example", "ok@dest.example")
	b.settled()
	b.wantLog(id,
		"postfix/qmgr[1]: ID: from=<sender@example.com>, size=23, nrcpt=2 (queue active)",
		"postfix/smtp[1]: ID: to=<defer@dest.example>, relay=mx[192.0.2.1]:25, delay=, delays=, dsn=4.2.0, status=deferred (try later)",
		"postfix/smtp[1]: ID: to=<ok@dest.example>, relay=mx[192.0.2.1]:25, delay=, delays=, dsn=2.0.0, status=sent (250 2.0.0 Ok)",
	)
	steps := []struct {
		pass    time.Duration
		tried   bool
		next    time.Duration // from now
		notices []string
	}{
		{pass: 299 * time.Second, tried: false},
		{pass: time.Second, tried: true, next: 300 * time.Second},
		{pass: 1700 * time.Second, tried: true, next: 2000 * time.Second},
		{pass: 3600 * time.Second, tried: true, next: 4000 * time.Second, notices: []string{"delay defer@dest.example delayed 4.2.0 try later"}},
		{pass: 4000 * time.Second, tried: true, next: 4000 * time.Second},
		{pass: 24 * time.Hour, tried: true, notices: []string{"failure defer@dest.example failed 4.2.0 try later"}},
	}
	for i, step := range steps {
		before := len(b.agent.requests)
		b.pass(step.pass)
		b.scanNow()
		if tried := len(b.agent.requests) > before; tried != step.tried {
			t.Fatalf("step %d: tried %v", i, tried)
		}
		if diff := cmp.Diff(step.notices, b.notes.take()); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
		if step.next == 0 {
			continue
		}
		inf, _ := b.store.Lookup(id)
		if next := inf.Next.Sub(b.clock()); next != step.next {
			t.Errorf("step %d: next attempt in %v, want %v", i, next, step.next)
		}
	}
	lines := b.about(id)
	want := []string{"postfix/qmgr[1]: ID: from=<sender@example.com>, status=expired, returned to sender", "postfix/qmgr[1]: ID: removed"}
	if diff := cmp.Diff(want, lines[len(lines)-2:]); diff != "" {
		t.Error(diff)
	}
}

// Mail that came into the queue just now is not too old, however long it has waited before: in maildrop,
// or in the queue of Postfix.
func TestOldArrival(t *testing.T) {
	b := newBench(t, "maximal_queue_lifetime = 1d\n")
	id := b.sendEnvelope(&queue.Envelope{
		Sender: "sender@example.com", Recipients: []queue.Recipient{{Address: "defer@dest.example"}}, Arrival: b.clock().Add(-72 * time.Hour),
	})
	b.settled()
	b.pass(time.Hour)
	b.scanNow()
	if notes := b.notes.take(); len(notes) > 0 {
		t.Errorf("told %q", notes)
	}
	if _, ok := b.store.Lookup(id); !ok {
		t.Error("the message is gone")
	}
}

func TestForceExpire(t *testing.T) {
	b := newBench(t, "")
	id := b.send("defer@dest.example")
	b.settled()
	if err := b.store.Expire(id); err != nil {
		t.Fatal(err)
	}
	b.scanNow()
	lines := b.about(id)
	want := []string{
		"postfix/error[1]: ID: to=<defer@dest.example>, relay=none, delay=, delays=, dsn=4.7.0, status=deferred (message is administratively expired)",
		"postfix/qmgr[1]: ID: from=<sender@example.com>, status=force-expired, returned to sender",
		"postfix/qmgr[1]: ID: removed",
	}
	if diff := cmp.Diff(want, lines[len(lines)-3:]); diff != "" {
		t.Error(diff)
	}
}

func TestDeadDestination(t *testing.T) {
	b := newBench(t, "initial_destination_concurrency = 1\n")
	first := b.send("dead@dest.example")
	b.settled()
	tried := len(b.agent.requests)
	id := b.send("user@dest.example")
	other := b.send("user@other.example")
	b.settled()
	b.wantLog(id,
		"postfix/qmgr[1]: ID: from=<sender@example.com>, size=23, nrcpt=1 (queue active)",
		"postfix/error[1]: ID: to=<user@dest.example>, relay=none, delay=, delays=, dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to mx[192.0.2.1]:25: Connection refused)",
	)
	if _, there := b.store.Lookup(other); there {
		t.Error("a dead destination held up another")
	}
	if n := len(b.agent.requests); n != tried+1 {
		t.Errorf("%d deliveries, want 1", n-tried)
	}
	if err := b.store.Delete(first); err != nil {
		t.Fatal(err)
	}
	b.s.Flush()
	b.until("flush", func() bool { _, there := b.store.Lookup(id); return !there })
}

func TestBadAgents(t *testing.T) {
	tests := []struct{ rcpt, want string }{
		{"panic@dest.example", "postfix/smtp[1]: ID: to=<panic@dest.example>, relay=none, delay=, delays=, dsn=4.3.0, status=deferred (unknown mail transport error)"},
		{"silent@dest.example", "postfix/smtp[1]: ID: to=<silent@dest.example>, relay=none, delay=, delays=, dsn=4.3.0, status=deferred (unknown mail transport error)"},
		{"u@nowhere.example", "postfix/error[1]: ID: to=<u@nowhere.example>, relay=none, delay=, delays=, dsn=4.3.0, status=deferred (mail transport unavailable)"},
		{"u@broken.example", "postfix/error[1]: ID: to=<u@broken.example>, relay=none, delay=, delays=, dsn=4.3.0, status=deferred (address resolver failure)"},
		{"double-bounce@local.example", "postfix/qmgr[1]: ID: to=<double-bounce@local.example>, relay=none, delay=, delays=, dsn=2.0.0, status=sent (undeliverable postmaster notification discarded)"},
	}
	for _, tt := range tests {
		t.Run(tt.rcpt, func(t *testing.T) {
			b := newBench(t, "")
			id := b.send(tt.rcpt)
			b.settled()
			for _, line := range b.about(id) {
				if line == tt.want {
					return
				}
			}
			t.Errorf("no line %q in\n%s", tt.want, strings.Join(b.log(), "\n"))
		})
	}
}

func TestDeferTransportsAndSoftBounce(t *testing.T) {
	b := newBench(t, "defer_transports = local\nsoft_bounce = yes\n")
	id := b.send("u@local.example", "bounce@dest.example")
	b.settled()
	lines := strings.Join(b.about(id), "\n")
	for _, want := range []string{
		"postfix/error[1]: ID: to=<u@local.example>, relay=none, delay=, delays=, dsn=4.3.2, status=deferred (deferred transport)",
		"dsn=4.1.1, status=SOFTBOUNCE (no such user)",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %q in\n%s", want, lines)
		}
	}
	b.s.FlushMessage(id)
	b.settled()
	if m, err := b.store.Load(id); err != nil || m.Left() != 1 {
		t.Errorf("a flush did not try the deferred transport (%v)", err)
	}
}

// TestSmallMessageDoesNotWait sends a message for a few behind one for many.
func TestSmallMessageDoesNotWait(t *testing.T) {
	b := newBench(t, "smtp_destination_concurrency_limit = 1\nsmtp_destination_recipient_limit = 2\n")
	var many []string
	many = append(many, "wait@dest.example")
	for i := range 99 {
		many = append(many, fmt.Sprintf("z%d@dest.example", i)) // behind the other one
	}
	b.send(many...)
	b.until("first delivery", func() bool { b.agent.mu.Lock(); defer b.agent.mu.Unlock(); return len(b.agent.requests) == 1 })
	b.send("small@dest.example")
	b.until("small message queued", func() bool {
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		return len(b.s.transports["smtp"].dests["dest.example"].todo) == 2
	})
	close(b.agent.gate)
	b.settled()
	at := 0
	for i, r := range b.agent.requests {
		if r == "smtp:dest.example 1" {
			at = i
		}
	}
	if at > 3 {
		t.Errorf("the small message was delivery %d", at)
	}
}

func TestHeldAndDeletedWhileActive(t *testing.T) {
	b := newBench(t, "")
	held := b.send("wait@dest.example", "defer@dest.example")
	gone := b.send("wait@other.example", "defer@other.example")
	b.until("deliveries", func() bool { b.agent.mu.Lock(); defer b.agent.mu.Unlock(); return len(b.agent.requests) == 2 })
	if err := b.store.Hold(held); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Delete(gone); err != nil {
		t.Fatal(err)
	}
	close(b.agent.gate)
	b.settled()
	if inf, ok := b.store.Lookup(held); !ok || inf.Queue != queue.Held {
		t.Errorf("%+v, want on hold", inf)
	}
	if b.store.Len() != 1 {
		t.Errorf("%d messages, want 1", b.store.Len())
	}
	b.s.look(scan{flush: true})
	b.settled()
	if n := len(b.agent.requests); n != 2 {
		t.Errorf("%d deliveries, want 2: a held message is not flushed", n)
	}
	if err := b.store.Release(held); err != nil {
		t.Fatal(err)
	}
	b.s.Released(held)
	b.settled()
	if n := len(b.agent.requests); n != 3 {
		t.Errorf("%d deliveries, want 3", n)
	}
}

func TestActiveLimit(t *testing.T) {
	b := newBench(t, "qmgr_message_active_limit = 4\nin_flow_delay = 0\n")
	for range 30 {
		b.send("wait@dest.example")
	}
	if n := b.s.ActiveCount(); n != 4 {
		t.Errorf("%d active, want 4", n)
	}
	close(b.agent.gate)
	b.until("all delivered", func() bool { return b.store.Len() == 0 })
}

func TestFlushSite(t *testing.T) {
	b := newBench(t, "")
	a, c := b.send("defer@a.example"), b.send("defer@c.example")
	b.settled()
	b.s.FlushSites([]string{"a.example"})
	b.settled()
	if n, m := len(b.about(a)), len(b.about(c)); n != 4 || m != 2 {
		t.Errorf("%d and %d lines, want 4 and 2", n, m)
	}
}

// TestTakeOver reloads the configuration while deliveries are under way and
// others wait.
func TestTakeOver(t *testing.T) {
	b := newBench(t, "initial_destination_concurrency = 2\nsmtp_destination_concurrency_limit = 2\n")
	for range 10 {
		b.send("wait@dest.example")
	}
	b.until("deliveries", func() bool { b.agent.mu.Lock(); defer b.agent.mu.Unlock(); return len(b.agent.requests) == 2 })
	next, err := New(b.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		next.Run(ctx)
	}()
	b.until("start of the next", func() bool { next.mu.Lock(); defer next.mu.Unlock(); return next.running })
	b.end()
	b.send("user@dest.example")
	close(b.agent.gate)
	b.until("all delivered", func() bool { return b.store.Len() == 0 })
	cancel()
	<-done
	for _, line := range b.log() {
		if strings.Contains(line, "panic") {
			t.Error(line)
		}
	}
}

func BenchmarkScheduler(b *testing.B) {
	bn := newBench(b, "")
	b.ReportAllocs()
	var wg sync.WaitGroup
	jobs := make(chan int)
	for range 50 {
		wg.Go(func() {
			for i := range jobs {
				bn.send(fmt.Sprintf("user@d%d.example", i%10))
			}
		})
	}
	for i := 0; b.Loop(); i++ {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	bn.until("all delivered", func() bool { return bn.s.ActiveCount() == 0 })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	bn.stop()
}
