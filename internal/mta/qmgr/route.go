package qmgr

import (
	"slices"
	"strings"
	"time"

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
	j.verp = s.checkVERP(j.m)
	open := 0
	for i := range j.m.Outcomes {
		if j.m.Outcomes[i].State != queue.Done {
			open++
		}
	}
	j.open = open
	r := router{s: s, j: j}
	if !r.aliased() {
		for i := range j.m.Recipients {
			if j.m.Outcomes[i].State == queue.Pending {
				r.route(i)
			}
		}
	}
	for i := range r.batches {
		r.batches[i].b.sort()
	}
	s.mu.Lock()
	for i := range r.batches {
		s.enqueue(&r.batches[i])
	}
	s.mu.Unlock()
	s.release(j)
}

// checkVERP says whether a message is to have a sender for each recipient.
func (s *Scheduler) checkVERP(m *queue.Message) bool {
	switch {
	case m.VERP == "":
		return false
	case m.Sender == "":
		s.log.Warningf("%s: ignoring VERP request for null sender", m.ID)
		return false
	case queue.VERPProblem(m.VERP, s.set.VERPFilter) != "":
		s.log.Warningf("%s: ignoring bad VERP request: \"%.100s\"", m.ID, m.VERP)
		return false
	}
	return true
}

// A router groups the recipients of one message.
type router struct {
	s       *Scheduler
	j       *job
	batches []routed
	index   map[place]int // of the batches, where they are many
}

// A routed batch knows its destination.
type routed struct {
	t *transport
	place
	b *batch
}

// A place is where recipients can be delivered together.
type place struct{ transport, key, nexthop string }

// isAliased picks the probes for an address that stands for several.
func isAliased(m *queue.Message) bool { return m.Verify && len(m.Recipients) > 1 }

// aliased answers a probe for an address that stands for several: it exists, and nobody is asked. Of those
// that it stands for nothing is known.
func (r *router) aliased() bool {
	m := r.j.m
	if !isAliased(m) {
		return false
	}
	st := deliver.Status{Action: deliver.Delivered, Enhanced: smtp.Enhanced{2, 0, 0}, Text: "aliased to multiple recipients", Relay: "none"}
	original := m.Recipients[0].Original
	if r.s.probes != nil {
		r.s.probes.Result(original, st.Action, st.Text)
	}
	now := r.s.now()
	r.s.logRecipient(r.s.cleanupLog, m, original, "", probeWord(st.Action), &st, times{m.Arrival, r.j.active, now, now})
	for i := range m.Recipients {
		m.Outcomes[i] = queue.Outcome{State: queue.Done}
		r.s.record(r.j, i)
	}
	return true
}

// route finds the way of one recipient.
func (r *router) route(i int) {
	rcpt := &r.j.m.Recipients[i]
	if rcpt.Expanded {
		// Only the report tells of it, as with Postfix.
		st := deliver.Status{Action: deliver.Expanded, Enhanced: smtp.Enhanced{2, 0, 0}, Text: "alias expanded", Relay: "none"}
		r.s.delivered(r.j, target{i, rcpt.Address}, &st)
		r.s.record(r.j, i)
		return
	}
	res := r.resolve(rcpt)
	if r.discards(res) {
		r.discard(i, res)
		return
	}
	t := r.s.transport(res.Transport)
	if t == nil {
		r.s.sayMissing(res.Transport)
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

// sayMissing warns of a transport that is not there, not for each recipient.
func (s *Scheduler) sayMissing(transport string) {
	now := s.now()
	s.mu.Lock()
	last, said := s.missing[transport]
	say := !said || now.Sub(last) >= s.set.TransportRetry
	if say {
		s.missing[transport] = now
	}
	s.mu.Unlock()
	if say {
		s.log.Warningf("connect to transport private/%s: No such file or directory", transport)
	}
}

// resolve finds the way of a recipient and replaces those that are not to be taken now, also ways to filters.
func (r *router) resolve(rcpt *queue.Recipient) resolve.Result {
	m := r.j.m
	switch {
	case m.Expired:
		return retry(resolve.Result{Recipient: rcpt.Address}, "4.7.0 message is administratively expired")
	case m.Verify && r.s.tooManyProbes():
		return retry(resolve.Result{Recipient: rcpt.Address}, "4.3.2 Too many address verification requests")
	}
	res, err := r.way(rcpt)
	if err != nil {
		r.s.log.Warningf("%s: recipient <%s>: %v", m.ID, rcpt.Address, err)
		return retry(resolve.Result{Recipient: rcpt.Address}, "4.3.0 address resolver failure")
	}
	if res.Recipient == "" {
		res.Transport, res.Nexthop = serviceError, "5.1.3 null recipient address"
	}
	if !r.j.flush && slices.Contains(r.s.deferred, res.Transport) {
		return retry(res, "4.3.2 deferred transport")
	}
	return res
}

// way is where a recipient's mail goes: to the message's filter, unless it was redirected, or where the resolver says.
func (r *router) way(rcpt *queue.Recipient) (resolve.Result, error) {
	m := r.j.m
	switch {
	case m.Filter != "" && m.Redirect == "" && !isProbe(m):
		return r.s.filter(m.Filter, rcpt.Address), nil
	case m.Verify && r.s.prober != nil:
		return r.s.prober.ResolveProbe(r.s.ctx, m.Sender, rcpt.Address)
	}
	return r.s.resolver.Resolve(r.s.ctx, m.Sender, rcpt.Address)
}

// tooManyProbes says whether more probes are under way than there may be.
func (s *Scheduler) tooManyProbes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probing > s.set.PendingProbes
}

func retry(res resolve.Result, text string) resolve.Result {
	res.Transport, res.Nexthop = serviceRetry, text
	return res
}

// filter is the way to a content_filter, "transport:nexthop"; without next hop that is the recipient's
// domain, or $myhostname where there is none, unless default_filter_nexthop says otherwise.
func (s *Scheduler) filter(value, recipient string) resolve.Result {
	transport, nexthop, _ := strings.Cut(value, ":")
	if nexthop == "" {
		nexthop = s.set.FilterNexthop
	}
	if nexthop == "" {
		_, nexthop = smtp.SplitAddress(recipient)
	}
	if nexthop == "" {
		nexthop = s.core.Myhostname
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

// fewBatches are compared one by one; more are found in a map.
const fewBatches = 8

// add puts a recipient into the batch of its destination.
func (r *router) add(t *transport, res resolve.Result, to target) {
	where := place{t.name, t.key(res.Nexthop, res.Recipient), res.Nexthop}
	if i := r.find(where); i >= 0 {
		b := r.batches[i].b
		b.rcpts = append(b.rcpts, to)
		return
	}
	if r.index != nil {
		r.index[where] = len(r.batches)
	}
	r.batches = append(r.batches, routed{t, where, &batch{job: r.j, nexthop: res.Nexthop, rcpts: []target{to}}})
	if len(r.batches) == fewBatches {
		r.index = make(map[place]int)
		for i := range r.batches {
			r.index[r.batches[i].place] = i
		}
	}
}

// sort brings recipients into the order in which Postfix delivers to them: by
// domain in any case, then by address. Next hops and logs see it.
func (b *batch) sort() {
	slices.SortStableFunc(b.rcpts, func(x, y target) int {
		_, dx := smtp.SplitAddress(x.addr)
		_, dy := smtp.SplitAddress(y.addr)
		if dx != dy {
			if c := strings.Compare(strings.ToLower(dx), strings.ToLower(dy)); c != 0 {
				return c
			}
		}
		return strings.Compare(x.addr, y.addr)
	})
}

// find returns the batch of a place, or -1.
func (r *router) find(where place) int {
	if r.index != nil {
		if i, ok := r.index[where]; ok {
			return i
		}
		return -1
	}
	for i := range r.batches {
		if r.batches[i].place == where {
			return i
		}
	}
	return -1
}

// enqueue queues a batch at its destination. The caller holds the lock.
func (s *Scheduler) enqueue(r *routed) {
	r.b.job.pending++
	t := r.t
	if !t.down.IsZero() && (r.b.job.flush || !s.now().Before(t.down)) {
		t.down = time.Time{}
	}
	if !t.down.IsZero() {
		s.putOff(r.b, t.reason)
		return
	}
	d := t.destination(r.key)
	if !d.dead.IsZero() && (r.b.job.flush || !s.now().Before(d.dead)) {
		d.revive()
	}
	if !d.dead.IsZero() {
		s.putOff(r.b, suspended(&d.reason))
		return
	}
	d.todo = append(d.todo, r.b)
	s.warnOfClog(d)
	t.offer(d)
}

// putOff defers a batch from another goroutine: the caller holds the lock.
func (s *Scheduler) putOff(b *batch, reason deliver.Status) {
	s.workers.Go(func() { s.suspend([]*batch{b}, reason) })
}

// suspended is the reason why mail for a dead destination is deferred.
func suspended(reason *deliver.Status) deliver.Status {
	st := *reason
	st.Text = "delivery temporarily suspended: " + st.Text
	return st
}

// suspend defers mail without a try.
func (s *Scheduler) suspend(batches []*batch, reason deliver.Status) {
	now := s.now()
	st := deliver.Status{
		Action: deliver.Deferred, Enhanced: reason.Enhanced, Relay: "none",
		Text: reason.Text,
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
