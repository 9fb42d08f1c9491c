package qmgr

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

func rcpt(addr string, notify uint8) queue.Recipient {
	return queue.Recipient{Address: addr, Original: addr, Notify: notify}
}

// TestTrace shows what senders are told who ask for a trace, and that nothing stays
// in the queue of what is no real delivery.
func TestTrace(t *testing.T) {
	for _, c := range []struct {
		name  string
		trace byte
		rcpts []string
		want  []string
		left  int // in the queue
	}{
		{"what-if", queue.TraceVerify, []string{"u@a.example", "bounce@a.example", "defer@a.example"}, []string{
			"trace bounce@a.example undeliverable 5.1.1 delivery via mx[192.0.2.1]:25: no such user",
			"trace defer@a.example undeliverable 4.2.0 delivery via mx[192.0.2.1]:25: try later",
			"trace u@a.example deliverable 2.0.0 delivery via mx[192.0.2.1]:25: 250 2.0.0 Ok"}, 0},
		{"panic", queue.TraceVerify, []string{"panic@a.example"}, []string{"trace panic@a.example undeliverable 4.3.0 unknown mail transport error"}, 0},
		{"no transport", queue.TraceVerify, []string{"u@nowhere.example"}, []string{"trace u@nowhere.example undeliverable 4.3.0 mail transport unavailable"}, 0},
		{"record", queue.TraceRecord, []string{"u@a.example", "bounce@a.example", "defer@a.example"}, []string{
			"failure bounce@a.example failed 5.1.1 no such user",
			"trace bounce@a.example failed 5.1.1 delivery via mx[192.0.2.1]:25: no such user",
			"trace defer@a.example delayed 4.2.0 delivery via mx[192.0.2.1]:25: try later",
			"trace u@a.example relayed 2.0.0 delivery via mx[192.0.2.1]:25: 250 2.0.0 Ok"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, "")
			env := &queue.Envelope{Sender: "s@example.com", Trace: c.trace}
			for _, r := range c.rcpts {
				env.Recipients = append(env.Recipients, rcpt(r, 0))
			}
			b.sendEnvelope(env)
			b.settled()
			if got := b.notes.take(); !slices.Equal(got, c.want) {
				t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if n := b.store.Len(); n != c.left {
				t.Errorf("%d messages left, want %d", n, c.left)
			}
			b.pass(time.Hour)
			b.scanNow()
			b.settled()
			if got := b.notes.take(); got != nil {
				t.Errorf("told again: %q", got)
			}
		})
	}
}

// TestTraceFails shows that a report which cannot be sent is sent later, and that
// no recipient gets the mail twice for that.
func TestTraceFails(t *testing.T) {
	b := newBench(t, "")
	b.notes.fail.Store(true)
	b.sendEnvelope(&queue.Envelope{Sender: "s@example.com", Trace: queue.TraceRecord, Recipients: []queue.Recipient{rcpt("u@a.example", 0)}})
	b.settled()
	b.notes.fail.Store(false)
	b.pass(time.Hour)
	b.scanNow()
	b.until("report", func() bool { return b.store.Len() == 0 })
	if got := b.notes.take(); len(got) != 1 || !strings.HasPrefix(got[0], "trace u@a.example relayed") {
		t.Errorf("told %q", got)
	}
	if n := len(b.agent.requests); n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

// probes remembers results.
type probes struct {
	mu  sync.Mutex
	got []string
}

func (p *probes) Result(addr string, found deliver.Action, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, fmt.Sprint(addr, " ", found.String(), " ", text))
}

// TestProbes shows that probes tell the verify service, and nobody else.
func TestProbes(t *testing.T) {
	p := new(probes)
	b := newBenchWith(t, "address_verify_pending_request_limit = 3\n", func(c *Config) { c.Probes = p })
	send := func(rcpts ...queue.Recipient) string {
		return b.sendEnvelope(&queue.Envelope{Sender: "double-bounce@example.com", Verify: true, Recipients: rcpts})
	}
	send(rcpt("u@a.example", 0))
	id := send(queue.Recipient{Address: "bounce@a.example", Original: "alias@a.example"})
	send(rcpt("defer@a.example", 0))
	b.until("results", func() bool { return b.store.Len() == 0 })
	send(queue.Recipient{Address: "x@a.example", Original: "list@a.example"}, queue.Recipient{Address: "y@a.example", Original: "list@a.example"})
	b.until("results", func() bool { return b.store.Len() == 0 })
	want := []string{"alias@a.example failed no such user", "bounce@a.example failed no such user", "defer@a.example delayed try later",
		"u@a.example relayed 250 2.0.0 Ok"}
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.got)
	p.got = slices.Compact(p.got)
	if known := strings.Join(p.got, "\n"); strings.Contains(known, "x@a.example") || strings.Contains(known, "y@a.example") {
		t.Errorf("members of a list, whom nobody was asked about, are known: %s", known)
	}
	for _, line := range append(want, "list@a.example relayed aliased to multiple recipients") {
		if !slices.Contains(p.got, line) {
			t.Errorf("no %q in %q", line, p.got)
		}
	}
	if told := b.notes.take(); told != nil {
		t.Errorf("senders were told %q", told)
	}
	b.wantLog(id, "postfix/qmgr[1]: ID: from=<double-bounce@example.com>, size=23, nrcpt=1 (queue active)",
		"postfix/smtp[1]: ID: to=<bounce@a.example>, orig_to=<alias@a.example>, relay=mx[192.0.2.1]:25, delay=, delays=, dsn=5.1.1, status=undeliverable (no such user)",
		"postfix/qmgr[1]: ID: removed")
}

// TestTooManyProbes shows that probes under way have a limit.
func TestTooManyProbes(t *testing.T) {
	p := new(probes)
	b := newBenchWith(t, "address_verify_pending_request_limit = 2\n", func(c *Config) { c.Probes = p })
	for _, r := range []string{"wait1@a.example", "wait2@a.example", "wait3@a.example"} {
		b.sendEnvelope(&queue.Envelope{Sender: "s@example.com", Verify: true, Recipients: []queue.Recipient{rcpt(r, 0)}})
		b.until("begun", func() bool { b.s.mu.Lock(); defer b.s.mu.Unlock(); return len(b.s.arrived) == 0 })
	}
	b.until("the third is put off", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.got, func(s string) bool { return strings.HasSuffix(s, "delayed Too many address verification requests") })
	})
	close(b.agent.gate)
	b.until("the end", func() bool { return b.store.Len() == 0 })
}

// senders tells an agent's senders.
type senders struct {
	mu  sync.Mutex
	got []string
}

func (a *senders) Deliver(_ context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	for i := range r.Recipients {
		a.mu.Lock()
		a.got = append(a.got, r.Message.Sender+" "+r.Recipients[i].Address+fmt.Sprint(" ", len(r.Recipients), r.Verify))
		a.mu.Unlock()
		report(i, deliver.Status{Action: deliver.Relayed})
	}
}

func TestVERP(t *testing.T) {
	a := new(senders)
	b := newBenchWith(t, "", func(c *Config) { c.Transports["smtp"] = Transport{Agent: a, Log: c.Log} })
	for _, m := range []struct{ sender, verp string }{{"list@example.com", "+="}, {"other@example.com", "!!"}, {"", "+="}} {
		b.sendEnvelope(&queue.Envelope{Sender: m.sender, VERP: m.verp, Recipients: []queue.Recipient{
			rcpt("u@a.example", 0), {Address: "v@a.example", Original: "w@alias.example"}}})
	}
	b.until("delivery", func() bool { return b.store.Len() == 0 })
	want := []string{
		" u@a.example 2 false", " v@a.example 2 false",
		"list+u=a.example@example.com u@a.example 1 false", "list+w=alias.example@example.com v@a.example 1 false",
		"other@example.com u@a.example 2 false", "other@example.com v@a.example 2 false",
	}
	slices.Sort(a.got)
	if !slices.Equal(a.got, want) {
		t.Errorf("deliveries\n%s\nwant\n%s", strings.Join(a.got, "\n"), strings.Join(want, "\n"))
	}
	log := strings.Join(b.log(), "\n")
	for _, want := range []string{`ignoring bad VERP request: "!!"`, "ignoring VERP request for null sender"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
}

// TestExpanded shows that an alias is reported once, and its members not.
func TestExpanded(t *testing.T) {
	b := newBench(t, "")
	alias := rcpt("list@a.example", queue.NotifySuccess)
	alias.Expanded = true
	id := b.sendEnvelope(&queue.Envelope{Sender: "s@example.com", Recipients: []queue.Recipient{
		alias, {Address: "u@a.example", Original: "list@a.example", Notify: queue.NotifyNever}}})
	b.until("delivery", func() bool { return b.store.Len() == 0 })
	if got := b.notes.take(); !slices.Equal(got, []string{"success list@a.example expanded 2.0.0 alias expanded"}) {
		t.Errorf("told %q", got)
	}
	b.wantLog(id, "postfix/qmgr[1]: ID: from=<s@example.com>, size=23, nrcpt=1 (queue active)",
		"postfix/smtp[1]: ID: to=<u@a.example>, orig_to=<list@a.example>, relay=mx[192.0.2.1]:25, delay=, delays=, dsn=2.0.0, status=sent (250 2.0.0 Ok)",
		"postfix/qmgr[1]: ID: removed")
}

// TestDelayCleared shows that who was warned is told of the delivery.
func TestDelayCleared(t *testing.T) {
	for _, confirm := range []string{"yes", "no"} {
		t.Run(confirm, func(t *testing.T) {
			b := newBench(t, "delay_warning_time = 1h\nconfirm_delay_cleared = "+confirm+"\n")
			b.send("defer@a.example")
			b.settled()
			b.pass(2 * time.Hour)
			b.scanNow()
			b.settled()
			b.s.mu.Lock()
			b.s.resolver = better{}
			b.s.mu.Unlock()
			b.pass(3 * time.Hour)
			b.scanNow()
			b.until("delivery", func() bool { return b.store.Len() == 0 })
			want := []string{"delay defer@a.example delayed 4.2.0 try later"}
			if confirm == "yes" {
				want = append(want, "success defer@a.example relayed 2.0.0 delivery via mx[192.0.2.1]:25: 250 2.0.0 Ok")
			}
			if got := b.notes.take(); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
		})
	}
}

// better sends all mail to someone who takes it.
type better struct{}

func (better) Resolve(context.Context, string, string) (resolve.Result, error) {
	return resolve.Result{Transport: "smtp", Nexthop: "a.example", Recipient: "u@a.example"}, nil
}
