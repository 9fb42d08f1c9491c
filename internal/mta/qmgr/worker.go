package qmgr

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A transport is a delivery service with its destinations and workers.
// Guarded by the scheduler's lock.
type transport struct {
	s         *Scheduler
	name      string
	agent     deliver.Agent
	log       *maillog.Logger
	lim       limits
	processes int // workers at once; 0 is no limit

	dests  map[string]*destination
	ready  []*destination // take turns
	busy   int            // deliveries under way
	idle   []*worker
	paused bool // by a rate delay

	down   time.Time // the agent failed; not to be used before
	reason deliver.Status
}

func newTransport(s *Scheduler, name string, c Transport, lim limits) *transport {
	t := &transport{
		s: s, name: name, agent: c.Agent, log: c.Log, lim: lim, processes: c.Processes,
		dests: make(map[string]*destination),
	}
	if lim.transport > 0 {
		t.processes = 1
	}
	return t
}

// A worker makes the deliveries of a transport, one after the other.
type worker struct {
	wake chan struct{}
}

// linger is how long a worker waits for work before it ends.
const linger = 5 * time.Second

// offer puts a destination into the ring if a delivery may begin, and sees to
// it that someone makes it.
func (t *transport) offer(d *destination) {
	if d.ready || !d.open() {
		return
	}
	d.ready = true
	t.ready = append(t.ready, d)
	t.start()
}

// start wakes or makes a worker.
func (t *transport) start() {
	if len(t.ready) == 0 || t.paused || t.processes > 0 && t.busy >= t.processes || t.s.stopped {
		return
	}
	if n := len(t.idle); n > 0 {
		w := t.idle[n-1]
		t.idle = t.idle[:n-1]
		w.wake <- struct{}{}
		return
	}
	w := &worker{wake: make(chan struct{}, 1)}
	t.s.workers.Go(func() { t.work(w) })
}

// pick returns the next delivery, or nil if there is none to be made now.
func (t *transport) pick() (*destination, *batch) {
	for len(t.ready) > 0 && !t.paused && (t.processes == 0 || t.busy < t.processes) && !t.s.stopped {
		d := t.ready[0]
		t.ready[0] = nil
		t.ready = t.ready[1:]
		d.ready = false
		if !d.open() {
			continue
		}
		b := d.take()
		d.busy++
		t.busy++
		if d.open() {
			d.ready = true
			t.ready = append(t.ready, d)
		}
		t.start() // for the next one
		return d, b
	}
	return nil, nil
}

// work is the loop of a worker.
func (t *transport) work(w *worker) {
	s := t.s
	timer := time.NewTimer(linger)
	defer timer.Stop()
	s.mu.Lock()
	for {
		d, b := t.pick()
		if d != nil {
			s.mu.Unlock()
			t.deliver(d, b)
			s.mu.Lock()
			continue
		}
		if s.stopped {
			break
		}
		t.idle = append(t.idle, w)
		s.mu.Unlock()
		timer.Reset(linger)
		woken := true
		select {
		case <-w.wake:
		case <-timer.C:
			woken = false
		case <-s.ctx.Done():
			woken = false
		}
		s.mu.Lock()
		if !woken && t.leave(w) {
			break
		}
	}
	s.mu.Unlock()
}

// leave takes a worker out of the idle ones. It reports false if it was woken
// meanwhile.
func (t *transport) leave(w *worker) bool {
	for i, other := range t.idle {
		if other == w {
			t.idle = append(t.idle[:i], t.idle[i+1:]...)
			return true
		}
	}
	<-w.wake
	return false
}

// A delivery is one call of an agent.
type delivery struct {
	t     *transport
	d     *destination
	b     *batch
	start time.Time

	mu     sync.Mutex
	tried  bool // the agent was called
	crash  bool // it panicked
	told   []bool
	dead   *deliver.Status // the destination failed
	closed bool            // nothing more is taken from the agent
}

// grace is how long after the end of its time an agent may take to report.
const grace = time.Minute

// deliver makes one delivery and takes note of how it went. An agent that does
// not come back within daemon_timeout is given up: its recipients are deferred.
func (t *transport) deliver(d *destination, b *batch) {
	s := t.s
	dl := &delivery{t: t, d: d, b: b, start: s.now(), told: make([]bool, len(b.rcpts))}
	ctx, cancel := context.WithTimeout(s.ctx, s.set.DaemonTimeout)
	defer cancel()
	end := sync.OnceFunc(dl.end)
	watchdog := time.AfterFunc(s.set.DaemonTimeout+grace, func() {
		s.log.Warningf("transport %s: a delivery of %s took more than %v and is given up", t.name, b.job.m.ID, s.set.DaemonTimeout)
		end()
	})
	defer watchdog.Stop()
	dl.run(ctx)
	end()
}

// end takes note of how the delivery went, and lets others follow.
func (dl *delivery) end() {
	t, s, d := dl.t, dl.t.s, dl.d
	tried, crash, dead := dl.rest()
	if t.lim.destinations > 0 {
		defer t.resume(d, t.lim.destinations)
	}
	if t.lim.transport > 0 {
		defer t.resume(nil, t.lim.transport)
	}

	s.mu.Lock()
	d.busy--
	t.busy--
	d.paused = t.lim.destinations > 0
	t.paused = t.lim.transport > 0
	var waiting []*batch
	var reason deliver.Status
	switch {
	case crash:
		reason = brokenAgent
		waiting = t.breakDown(reason)
	case !tried:
	case dead != nil && d.dead.IsZero():
		if d.missed() {
			reason = suspended(dead)
			waiting = s.kill(d, dead)
		}
	case dead == nil:
		d.reached()
	}
	t.offer(d)
	d.forget()
	t.start()
	s.mu.Unlock()

	if crash {
		s.log.Warningf("transport %s failure -- see a previous warning/fatal/panic logfile record for the problem description", t.name)
	}
	s.suspend(waiting, reason)
	s.release(dl.b.job)
}

// brokenAgent is why mail of an agent that failed is deferred.
var brokenAgent = deliver.Status{
	Action: deliver.Deferred, Enhanced: smtp.Enhanced{4, 3, 0}, Text: "unknown mail transport error", Relay: "none",
}

// breakDown leaves the agent alone for transport_retry_time, and returns what
// waits for it. The caller holds the lock.
func (t *transport) breakDown(reason deliver.Status) []*batch {
	wait := t.s.set.TransportRetry
	until := t.s.now().Add(wait)
	t.down, t.reason = until, reason
	time.AfterFunc(wait, func() {
		t.s.mu.Lock()
		defer t.s.mu.Unlock()
		if t.down.Equal(until) {
			t.down = time.Time{}
		}
	})
	var waiting []*batch
	for _, d := range t.dests {
		waiting = append(waiting, d.todo...)
		d.todo = nil
		d.forget()
	}
	return waiting
}

// kill declares a destination dead, and returns what waits for it.
func (s *Scheduler) kill(d *destination, reason *deliver.Status) []*batch {
	until := s.now().Add(s.set.MinBackoff)
	d.dead = until
	d.reason = *reason
	todo := d.todo
	d.todo = nil
	time.AfterFunc(s.set.MinBackoff, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.dead.Equal(until) {
			d.revive()
			d.forget()
		}
	})
	return todo
}

// resume ends a pause after a delay: of a destination, or of the transport.
func (t *transport) resume(d *destination, delay time.Duration) {
	time.AfterFunc(delay, func() {
		t.s.mu.Lock()
		defer t.s.mu.Unlock()
		if d == nil {
			t.paused = false
			t.start()
			return
		}
		d.paused = false
		t.offer(d)
		d.forget()
	})
}

// run calls the agent, if there is something to deliver.
func (dl *delivery) run(ctx context.Context) {
	m := dl.b.job.m
	content, err := dl.t.s.store.Content(m)
	if err != nil {
		dl.t.s.contentError(dl, err)
		return
	}
	defer content.Close() //nolint:errcheck // it was only read
	dl.mu.Lock()
	dl.tried = true
	dl.mu.Unlock()
	dl.call(ctx, dl.request(m, content))
}

// request is what the agent is asked.
func (dl *delivery) request(m *queue.Message, content *queue.Content) *deliver.Request {
	r := &deliver.Request{
		Message: m, Content: content, Transport: dl.t.name, Nexthop: dl.b.nexthop, Verify: isProbe(m), ReturnTo: m.Sender,
		Recipients: make([]deliver.Recipient, len(dl.b.rcpts)), Result: dl.result,
	}
	for k, to := range dl.b.rcpts {
		rcpt := &m.Recipients[to.i]
		r.Recipients[k] = deliver.Recipient{Address: to.addr, Original: rcpt.Original, DSNOrcpt: rcpt.DSNOrcpt, Notify: rcpt.Notify}
	}
	if dl.b.job.verp {
		alone := *m
		alone.Sender = m.VERPSender(&m.Recipients[dl.b.rcpts[0].i])
		r.Message = &alone
	}
	return r
}

// call survives a panic of the agent.
func (dl *delivery) call(ctx context.Context, r *deliver.Request) {
	defer func() {
		if p := recover(); p != nil {
			dl.mu.Lock()
			dl.crash = true
			dl.mu.Unlock()
			dl.t.s.log.Print(maillog.Panic, fmt.Sprintf("transport %s: %v %s", dl.t.name, p, debug.Stack()))
		}
	}()
	dl.t.agent.Deliver(ctx, r, dl.report)
}

// report takes the outcome of one recipient.
func (dl *delivery) report(k int, st deliver.Status) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	if dl.told[k] || dl.closed {
		return
	}
	dl.told[k] = true
	if st.Dead && dl.dead == nil {
		dl.dead = &st
	}
	dl.t.s.outcome(dl.b.job, dl.b.rcpts[k], &st, dl.log(&st), dl.start)
}

// rest defers the recipients that the agent said nothing of, and returns what is
// known of the delivery.
func (dl *delivery) rest() (tried, crash bool, dead *deliver.Status) {
	for k := range dl.b.rcpts {
		dl.report(k, brokenAgent)
	}
	dl.mu.Lock()
	defer dl.mu.Unlock()
	dl.closed = true
	return dl.tried, dl.crash, dl.dead
}

// contentError is for content that cannot be read.
func (s *Scheduler) contentError(dl *delivery, err error) {
	m := dl.b.job.m
	if _, there := s.store.Lookup(m.ID); !there {
		// Deleted by the administrator meanwhile.
		dl.mu.Lock()
		dl.closed = true
		dl.mu.Unlock()
		return
	}
	s.log.Errorf("%s: %v", m.ID, err)
	for k := range dl.b.rcpts {
		dl.report(k, deliver.Status{
			Action: deliver.Deferred, Enhanced: smtp.Enhanced{4, 3, 0},
			Text: "queue file read error", Relay: "none",
		})
	}
}
