package qmgr

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
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
	b     *batch
	start time.Time
	told  []bool
	left  int
	dead  *deliver.Status // the destination failed
}

// deliver makes one delivery and takes note of how it went.
func (t *transport) deliver(d *destination, b *batch) {
	s := t.s
	dl := delivery{t: t, b: b, start: s.now(), told: make([]bool, len(b.rcpts)), left: len(b.rcpts)}
	tried := dl.run(s.ctx)
	dl.rest()
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
	var suspended []*batch
	switch {
	case !tried:
	case dl.dead != nil && d.dead.IsZero():
		if d.missed() {
			suspended = s.kill(d, dl.dead)
		}
	case dl.dead == nil:
		d.reached()
	}
	t.offer(d)
	d.forget()
	s.mu.Unlock()

	if len(suspended) > 0 {
		s.suspend(suspended, *dl.dead)
	}
	s.release(b.job)
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

// run calls the agent. It reports false if there was nothing to try.
func (dl *delivery) run(ctx context.Context) bool {
	m := dl.b.job.m
	content, err := dl.t.s.store.Content(m)
	if err != nil {
		dl.t.s.contentError(dl, err)
		return false
	}
	defer content.Close() //nolint:errcheck // it was only read
	r := &deliver.Request{
		Message: m, Content: content, Transport: dl.t.name, Nexthop: dl.b.nexthop,
		Recipients: make([]deliver.Recipient, len(dl.b.rcpts)),
	}
	for k, to := range dl.b.rcpts {
		rcpt := &m.Recipients[to.i]
		r.Recipients[k] = deliver.Recipient{Address: to.addr, Original: rcpt.Original, DSNOrcpt: rcpt.DSNOrcpt, Notify: rcpt.Notify}
	}
	dl.call(ctx, r)
	return true
}

// call survives a panic of the agent.
func (dl *delivery) call(ctx context.Context, r *deliver.Request) {
	defer func() {
		if p := recover(); p != nil {
			dl.t.s.log.Print(maillog.Panic, fmt.Sprintf("transport %s: %v %s", dl.t.name, p, debug.Stack()))
		}
	}()
	dl.t.agent.Deliver(ctx, r, dl.report)
}

// report takes the outcome of one recipient.
func (dl *delivery) report(k int, st deliver.Status) {
	if dl.told[k] {
		return
	}
	dl.told[k] = true
	dl.left--
	if st.Dead && dl.dead == nil {
		dl.dead = &st
	}
	dl.t.s.outcome(dl.b.job, dl.b.rcpts[k], &st, dl.t.log, dl.start)
}

// rest defers the recipients that the agent said nothing of.
func (dl *delivery) rest() {
	for k := range dl.told {
		if !dl.told[k] {
			dl.report(k, deliver.Status{
				Action: deliver.Deferred, Enhanced: smtp.Enhanced{4, 3, 0},
				Text: "unknown mail transport error", Relay: "none",
			})
		}
	}
}

// contentError is for content that cannot be read.
func (s *Scheduler) contentError(dl *delivery, err error) {
	m := dl.b.job.m
	if _, there := s.store.Lookup(m.ID); !there {
		// Deleted by the administrator meanwhile.
		for k := range dl.told {
			dl.told[k] = true
		}
		return
	}
	s.log.Errorf("%s: %v", m.ID, err)
	for k := range dl.told {
		dl.report(k, deliver.Status{
			Action: deliver.Deferred, Enhanced: smtp.Enhanced{4, 3, 0},
			Text: "queue file read error", Relay: "none",
		})
	}
}
