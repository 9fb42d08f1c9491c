package qmgr

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// The services that deliver nothing: one returns mail, one keeps it waiting.
const (
	serviceError = "error"
	serviceRetry = "retry"
)

// begin finds where the recipients of a message go and queues them there.
func (s *Scheduler) begin(j *job) {
	s.logActive(j.m)
	open := 0
	for i := range j.m.Outcomes {
		if j.m.Outcomes[i].State != queue.Done {
			open++
		}
	}
	j.open = open
	r := router{s: s, j: j}
	for i := range j.m.Recipients {
		if j.m.Outcomes[i].State == queue.Pending {
			r.route(i)
		}
	}
	s.mu.Lock()
	for i := range r.batches {
		s.enqueue(&r.batches[i])
	}
	s.mu.Unlock()
	s.release(j)
}

// A router groups the recipients of one message.
type router struct {
	s       *Scheduler
	j       *job
	batches []routed
}

// A routed batch knows its destination.
type routed struct {
	t   *transport
	key string
	b   *batch
}

// route finds the way of one recipient.
func (r *router) route(i int) {
	rcpt := &r.j.m.Recipients[i]
	res := r.resolve(rcpt)
	if r.discards(res) {
		r.discard(i, res)
		return
	}
	t := r.s.transport(res.Transport)
	if t == nil {
		r.s.log.Warningf("connect to transport private/%s: No such file or directory", res.Transport)
		res = retry(res, "4.3.0 mail transport unavailable")
		t = r.s.transport(serviceRetry)
	}
	if t == nil {
		// Without a retry service it still must not be lost.
		r.s.undeliverable(r.j, i, res.Recipient, smtp.Enhanced{4, 3, 0}, "mail transport unavailable")
		return
	}
	r.add(t, res, target{i, res.Recipient})
}

// resolve asks the resolver, and replaces ways that are not to be taken now.
func (r *router) resolve(rcpt *queue.Recipient) resolve.Result {
	m := r.j.m
	if m.Expired {
		return retry(resolve.Result{Recipient: rcpt.Address}, "4.7.0 message is administratively expired")
	}
	if m.Filter != "" {
		return r.s.filter(m.Filter, rcpt.Address)
	}
	res, err := r.s.resolver.Resolve(r.s.ctx, m.Sender, rcpt.Address)
	if err != nil {
		r.s.log.Warningf("%s: recipient <%s>: %v", m.ID, rcpt.Address, err)
		return retry(resolve.Result{Recipient: rcpt.Address}, "4.3.0 address resolver failure")
	}
	if !r.j.flush {
		for _, name := range r.s.deferred {
			if name == res.Transport {
				return retry(res, "4.3.2 deferred transport")
			}
		}
	}
	return res
}

func retry(res resolve.Result, text string) resolve.Result {
	res.Transport, res.Nexthop = serviceRetry, text
	return res
}

// filter is the way to a content_filter, "transport:nexthop"; without next hop
// that is the recipient's domain, unless default_filter_nexthop says otherwise.
func (s *Scheduler) filter(value, recipient string) resolve.Result {
	transport, nexthop, _ := strings.Cut(value, ":")
	if nexthop == "" {
		nexthop = s.set.FilterNexthop
	}
	if nexthop == "" {
		_, nexthop = smtp.SplitAddress(recipient)
	}
	return resolve.Result{Transport: transport, Nexthop: nexthop, Recipient: recipient}
}

// discards says whether a recipient is the sender of mail that must not
// bounce: what comes back to it has nowhere to go.
func (r *router) discards(res resolve.Result) bool {
	user, _ := smtp.SplitAddress(res.Recipient)
	return res.Class == resolve.Local && strings.EqualFold(user, r.s.core.DoubleBounceSender)
}

func (r *router) discard(i int, res resolve.Result) {
	m := r.j.m
	r.s.log.Warningf("%s: undeliverable postmaster notification discarded", m.ID)
	st := deliver.Status{
		Action: deliver.Delivered, Enhanced: smtp.Enhanced{2, 0, 0}, Relay: "none",
		Text: "undeliverable postmaster notification discarded",
	}
	now := r.s.now()
	r.s.outcome(r.j, target{i, res.Recipient}, &st, r.s.log, now)
}

// undeliverable defers a recipient without an agent.
func (s *Scheduler) undeliverable(j *job, i int, addr string, dsn smtp.Enhanced, text string) {
	st := deliver.Status{Action: deliver.Deferred, Enhanced: dsn, Text: text, Relay: "none"}
	s.outcome(j, target{i, addr}, &st, s.retryLog(), s.now())
}

// add puts a recipient into the batch of its destination.
func (r *router) add(t *transport, res resolve.Result, to target) {
	key := t.key(res.Nexthop, res.Recipient)
	for i := range r.batches {
		if b := &r.batches[i]; b.t == t && b.key == key && b.b.nexthop == res.Nexthop {
			b.b.rcpts = append(b.b.rcpts, to)
			return
		}
	}
	r.batches = append(r.batches, routed{t, key, &batch{job: r.j, nexthop: res.Nexthop, rcpts: []target{to}}})
}

// enqueue queues a batch at its destination. The caller holds the lock.
func (s *Scheduler) enqueue(r *routed) {
	d := r.t.destination(r.key)
	r.b.job.pending++
	if !d.dead.IsZero() && (r.b.job.flush || !s.now().Before(d.dead)) {
		d.revive()
	}
	if !d.dead.IsZero() {
		s.workers.Go(func() { s.suspend([]*batch{r.b}, d.reason) })
		return
	}
	d.todo = append(d.todo, r.b)
	r.t.offer(d)
}

// suspend defers the mail for a dead destination.
func (s *Scheduler) suspend(batches []*batch, reason deliver.Status) {
	now := s.now()
	st := deliver.Status{
		Action: deliver.Deferred, Enhanced: reason.Enhanced, Relay: "none",
		Text: "delivery temporarily suspended: " + reason.Text,
	}
	st.RemoteMTA, st.RemoteCode = reason.RemoteMTA, reason.RemoteCode
	for _, b := range batches {
		for _, to := range b.rcpts {
			s.outcome(b.job, to, &st, s.retryLog(), now)
		}
		s.release(b.job)
	}
}

// release ends one use of a job; the last one ends the round.
func (s *Scheduler) release(j *job) {
	s.mu.Lock()
	j.pending--
	last := j.pending == 0
	s.mu.Unlock()
	if last {
		s.finish(j)
	}
}
