package qmgr

import (
	"math"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A destination is the mail for one next hop of a transport (or, where each
// recipient gets a delivery of its own, for one recipient). It exists while it
// has work, or is dead. Guarded by the scheduler's lock.
type destination struct {
	t    *transport
	key  string
	todo []*batch // messages take turns

	busy    int  // deliveries under way
	ready   bool // in the transport's ring
	paused  bool // by a rate delay
	window  int  // deliveries allowed at once
	success float64
	failure float64
	cohorts float64 // failed in a row

	dead   time.Time // not to be used before
	reason deliver.Status

	warn time.Time // not to be said before that it clogs the active queue
}

// A batch is the recipients of one message for one destination.
type batch struct {
	job     *job
	nexthop string
	rcpts   []target
}

// A target is a recipient with its number in the message.
type target struct {
	i    int
	addr string
}

// key returns the name under which deliveries are counted. Where a delivery
// takes one recipient only, that is the mailbox: the recipient without its
// extension, and with the next hop for its domain, of which there may be several
// names.
func (t *transport) key(nexthop, recipient string) string {
	if t.lim.recipients != 1 || t.name == serviceError || t.name == serviceRetry {
		return strings.ToLower(nexthop)
	}
	user, _ := smtp.SplitAddress(recipient)
	user, _ = t.s.split(user)
	return strings.ToLower(user + "@" + nexthop)
}

// destination returns the destination with that key.
func (t *transport) destination(key string) *destination {
	d := t.dests[key]
	if d == nil {
		d = &destination{t: t, key: key, window: t.lim.initial}
		t.dests[key] = d
	}
	return d
}

// forget drops a destination that has nothing to do. Its concurrency is
// forgotten too, as Postfix does.
func (d *destination) forget() {
	if d.busy == 0 && len(d.todo) == 0 && !d.paused && d.dead.IsZero() {
		delete(d.t.dests, d.key)
	}
}

// open says whether another delivery may begin.
func (d *destination) open() bool {
	return len(d.todo) > 0 && d.busy < d.window && !d.paused && d.dead.IsZero()
}

// take returns the next delivery: a batch with at most the recipients that one
// delivery may have. What is left of the message waits for its next turn.
func (d *destination) take() *batch {
	b := d.todo[0]
	d.todo[0] = nil
	d.todo = d.todo[1:]
	limit := d.t.lim.recipients
	if b.job.verp {
		limit = 1
	}
	if limit == 0 || len(b.rcpts) <= limit {
		return b
	}
	part := &batch{job: b.job, nexthop: b.nexthop, rcpts: b.rcpts[:limit:limit]}
	b.rcpts = b.rcpts[limit:]
	b.job.pending++
	d.todo = append(d.todo, b)
	return part
}

// amount returns the feedback of one delivery at a concurrency.
func (f *feedback) amount(window int) float64 {
	switch f.by {
	case byConcurrency:
		return f.value / float64(window)
	case bySquareRoot:
		return f.value / math.Sqrt(float64(window))
	}
	return f.value
}

// rounding keeps sums of fractions from missing a whole number.
const rounding = 0.001

// reached takes note of a delivery that got through to the destination,
// whatever was said there (SCHEDULER_README, "feedback").
func (d *destination) reached() {
	if !d.dead.IsZero() {
		d.revive()
	}
	d.cohorts = 0
	limit := d.t.lim.concurrency
	if limit > 0 && d.window >= limit || d.window >= d.busy+d.t.lim.initial {
		return
	}
	f := &d.t.lim.up
	d.success += f.amount(d.window)
	for d.success+rounding >= 1 {
		d.window++
		d.success--
		d.failure = 0
	}
	if limit > 0 {
		d.window = min(d.window, limit)
	}
}

// missed takes note of a delivery that did not, and reports whether the
// destination is dead now.
func (d *destination) missed() bool {
	if d.t.lim.cohorts > 0 {
		d.cohorts += 1 / float64(d.window)
		if d.cohorts+rounding >= float64(d.t.lim.cohorts) {
			return true
		}
	}
	f := &d.t.lim.down
	d.failure -= f.amount(d.window)
	for d.failure < -rounding {
		d.window--
		d.failure++
		d.success = 0
	}
	d.window = max(d.window, 1)
	return false
}

// revive ends death.
func (d *destination) revive() {
	d.dead = time.Time{}
	d.window = d.t.lim.initial
	d.success, d.failure, d.cohorts = 0, 0, 0
}
