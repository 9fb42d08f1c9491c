package qmgr

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// TestBrokenTransport shows that an agent that panicked is left alone for
// transport_retry_time, that its mail waits, and that a flush tries it.
func TestBrokenTransport(t *testing.T) {
	b := newBench(t, "transport_retry_time = 1h\n")
	broken := b.send("panic@a.example")
	b.settled()
	id := b.send("u@b.example")
	b.settled()
	b.wantLog(id, "postfix/qmgr[1]: ID: from=<sender@example.com>, size=23, nrcpt=1 (queue active)",
		"postfix/error[1]: ID: to=<u@b.example>, relay=none, delay=, delays=, dsn=4.3.0, status=deferred (unknown mail transport error)")
	if log := strings.Join(b.log(), "\n"); !strings.Contains(log, "transport smtp failure -- see a previous warning/fatal/panic logfile record") {
		t.Errorf("no word of the failure in\n%s", log)
	}
	if err := b.store.Delete(broken); err != nil { // it would break the agent again
		t.Fatal(err)
	}
	b.s.Flush()
	b.until("the flush", func() bool { _, there := b.store.Lookup(id); return !there })
}

// TestMissingTransportIsSaidOnce shows that the log is not flooded.
func TestMissingTransportIsSaidOnce(t *testing.T) {
	b := newBench(t, "")
	for range 5 {
		b.send("u@nowhere.example", "v@nowhere.example")
	}
	b.settled()
	if n := strings.Count(strings.Join(b.log(), "\n"), "connect to transport private/nowhere"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// stuck is an agent that never comes back, whatever becomes of its context.
type stuck struct{ release chan struct{} }

func (a *stuck) Deliver(_ context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	<-a.release
	for i := range r.Recipients {
		report(i, deliver.Status{Action: deliver.Bounced, Enhanced: smtp.Enhanced{5, 0, 0}, Text: "too late"})
	}
}

// TestStuckAgent shows that the mail of an agent that hangs is deferred, and that
// what the agent says later does not count.
func TestStuckAgent(t *testing.T) {
	a := &stuck{make(chan struct{})}
	b := newBenchWith(t, "", func(c *Config) { c.Transports["smtp"] = Transport{Agent: a, Log: c.Log, Processes: 1} })
	defer close(a.release)
	id := b.send("u@a.example")
	b.until("delivery", func() bool { b.s.mu.Lock(); defer b.s.mu.Unlock(); return b.s.transports["smtp"].busy == 1 })
	b.s.mu.Lock()
	tr := b.s.transports["smtp"]
	j := b.s.active[id]
	d := tr.dests["a.example"]
	b.s.mu.Unlock()
	// What the watchdog does, without waiting for its time.
	dl := &delivery{t: tr, d: d, b: &batch{job: j, nexthop: "a.example", rcpts: []target{{0, "u@a.example"}}}, start: b.clock(), told: make([]bool, 1)}
	dl.end()
	b.settled()
	m, err := b.store.Load(id)
	if err != nil || m.Outcomes[0].Text != "unknown mail transport error" {
		t.Fatalf("%v, %+v", err, m)
	}
	if tr.busy != 0 {
		t.Errorf("%d deliveries under way", tr.busy)
	}
	dl.report(0, deliver.Status{Action: deliver.Bounced, Text: "too late"})
	if m, err := b.store.Load(id); err != nil || m.Outcomes[0].State != queue.Pending {
		t.Errorf("%v, %+v", err, m)
	}
}

// TestClockJumps shows that a clock that is set forward makes no mail too old,
// and one that is set back makes none wait.
func TestClockJumps(t *testing.T) {
	b := newBench(t, "")
	id := b.send("defer@a.example")
	b.settled()
	b.s.ages.mu.Lock()
	b.s.ages.on, b.s.ages.last = true, b.clock()
	b.s.ages.observe(b.clock().Add(30*24*time.Hour), time.Minute)
	b.s.ages.mu.Unlock()
	b.pass(30*24*time.Hour + time.Minute)
	b.s.ages.mu.Lock()
	b.s.ages.on = false // from here on the bench's clock is right
	b.s.ages.mu.Unlock()
	b.scanNow()
	b.settled()
	if notes := b.notes.take(); notes != nil {
		t.Errorf("told %q", notes)
	}
	b.pass(-60 * 24 * time.Hour)
	before := len(b.about(id))
	b.scanNow()
	b.settled()
	if after := len(b.about(id)); after == before {
		t.Error("after the clock was set back nothing is tried")
	}
	b.pass(60*24*time.Hour + 6*24*time.Hour)
	b.scanNow()
	b.until("the message is too old", func() bool { return b.store.Len() == 0 })
}

// TestInFlowDelay shows that a full active queue slows down who brings mail.
func TestInFlowDelay(t *testing.T) {
	b := newBench(t, "qmgr_message_active_limit = 1\n")
	b.send("wait@dest.example")
	begun := time.Now()
	b.send("u@dest.example")
	if took := time.Since(begun); took < time.Second {
		t.Errorf("a message was taken after %v", took)
	}
	close(b.agent.gate)
	b.until("all delivered", func() bool { return b.store.Len() == 0 })
}

// slowest is an agent whose next hop "slow.example" never answers while the others do.
type slowest struct {
	release chan struct{}
	done    atomic.Int64
}

func (a *slowest) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	if r.Nexthop == "slow.example" {
		select {
		case <-a.release:
		case <-ctx.Done():
		}
	}
	for i := range r.Recipients {
		a.done.Add(1)
		report(i, deliver.Status{Action: deliver.Relayed})
	}
}

// TestManyDestinations has mail for 50,000 destinations in the queue, in messages
// for many of them and in messages of their own, beside one that takes all the
// connections it may have and never answers.
func TestManyDestinations(t *testing.T) {
	const destinations, perMessage = 50000, 5000
	a := &slowest{release: make(chan struct{})}
	b := newBenchWith(t, "qmgr_message_active_limit = 100000\n", func(c *Config) {
		c.Transports["smtp"] = Transport{Agent: a, Log: c.Log, Processes: 100}
	})
	for i := range 200 {
		b.send(fmt.Sprintf("u%d@slow.example", i))
	}
	begun := time.Now()
	for first := 0; first < destinations; first += perMessage {
		var rcpts []string
		for i := range perMessage {
			rcpts = append(rcpts, fmt.Sprintf("u@d%d.example", first+i))
		}
		b.send(rcpts...)
	}
	var senders sync.WaitGroup
	for w := range 10 {
		senders.Go(func() {
			for i := range 100 {
				b.send(fmt.Sprintf("v@d%d.example", (w*100+i)*50))
			}
		})
	}
	senders.Wait()
	deadline := time.Now().Add(60 * time.Second)
	for a.done.Load() < destinations+1000 {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d delivered", a.done.Load(), destinations+1000)
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("%d destinations in %v", destinations, time.Since(begun).Round(time.Millisecond))
	close(a.release)
	b.until("the slow one", func() bool { return b.store.Len() == 0 })
}

// TestClogWarning shows that a destination which fills the active queue is warned of
// once in qmgr_clog_warn_time.
func TestClogWarning(t *testing.T) {
	b := newBench(t, "qmgr_message_active_limit = 10\nsmtp_destination_concurrency_limit = 1\n")
	b.send("u@other.example")
	b.settled()
	for range 6 {
		b.send("wait@slow.example")
	}
	said := func() int { return strings.Count(strings.Join(b.log(), "\n"), "mail for slow.example is using up") }
	b.until("the warning", func() bool { return said() == 1 })
	b.until("all active", func() bool { return b.s.ActiveCount() == 6 })
	want := []string{
		"postfix/qmgr[1]: warning: mail for slow.example is using up 3 of ",
		"postfix/qmgr[1]: warning: you may need to increase the main.cf smtp_destination_concurrency_limit from 1",
		"postfix/qmgr[1]: warning: to turn off these warnings specify: qmgr_clog_warn_time = 0",
	}
	text := strings.Join(b.log(), "\n")
	for _, line := range want {
		if !strings.Contains(text, line) {
			t.Errorf("not logged: %s\n%s", line, text)
		}
	}
	b.pass(301 * time.Second)
	b.send("wait@slow.example")
	b.until("the warning again", func() bool { return said() == 2 })
	close(b.agent.gate)
	b.settled()
}
