package qmgr

import (
	"context"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// finish ends a round of deliveries: the sender is told what is to be told,
// and the message is removed, or deferred.
func (s *Scheduler) finish(j *job) {
	m := j.m
	now := s.now()
	trace := s.traced(j)
	told := s.tell(j, queue.Failed)
	told = s.tellTrace(j, trace) && s.tell(j, queue.Delivered) && told
	if m.Left() > 0 && s.expired(m, now) {
		s.logExpired(m)
		for i := range m.Outcomes {
			if o := &m.Outcomes[i]; o.State == queue.Pending {
				o.State, o.Action = queue.Failed, "failed"
				s.store.Record(m, i)
			}
		}
		told = s.tell(j, queue.Failed) && told
	}
	if told && finished(m) {
		s.store.Remove(m)
		s.end(j)
		s.logRemoved(m)
		return
	}
	s.warn(m, now)
	if s.ctx.Err() != nil {
		// It was interrupted, which is not the destination's fault.
		s.store.Defer(m, now)
		s.end(j)
		s.store.Yield(m)
		return
	}
	s.store.Defer(m, now.Add(s.backoff(s.age(m, now))))
	s.end(j)
}

// tell notifies the sender of the recipients in a state, and then has nothing
// more to do for them. It reports false if that must be tried again.
func (s *Scheduler) tell(j *job, st queue.State) bool {
	m := j.m
	which := withState(m, st)
	if len(which) == 0 {
		return true
	}
	notify := s.notifier.Success
	if st == queue.Failed {
		notify = s.notifier.Failure
	}
	if st == queue.Failed && j.verp && !s.set.NoVERPBounces {
		// Each is told by itself: what was told is not told again.
		for k := range which {
			if !s.notify(j, notify, which[k:k+1]) {
				return false
			}
		}
		return true
	}
	return s.notify(j, notify, which)
}

// notify sends one notification.
func (s *Scheduler) notify(j *job, send func(context.Context, *queue.Message, []int) error, which []int) bool {
	m := j.m
	if err := send(s.ctx, m, which); err != nil {
		s.log.Warningf("%s: %v", m.ID, err)
		return false
	}
	s.settle(m, which)
	return true
}

// settle takes note that nothing is left to do for recipients.
func (s *Scheduler) settle(m *queue.Message, which []int) {
	for _, i := range which {
		m.Outcomes[i] = queue.Outcome{State: queue.Done}
	}
	if !finished(m) {
		s.store.Record(m, which...)
	}
}

// finished says whether nothing is left to do for m.
func finished(m *queue.Message) bool {
	for i := range m.Outcomes {
		if m.Outcomes[i].State != queue.Done {
			return false
		}
	}
	return true
}

// withState returns the recipients in a state.
func withState(m *queue.Message, st queue.State) []int {
	var which []int
	for i := range m.Outcomes {
		if m.Outcomes[i].State == st {
			which = append(which, i)
		}
	}
	return which
}

// expired says whether a message is not to be tried again.
func (s *Scheduler) expired(m *queue.Message, now time.Time) bool {
	lifetime := s.set.Lifetime
	if m.Sender == "" || s.isDoubleBounce(m.Sender) {
		lifetime = s.set.BounceLifetime
	}
	return m.Expired || s.age(m, now) >= lifetime
}

func (s *Scheduler) isDoubleBounce(sender string) bool {
	return strings.EqualFold(sender, s.core.DoubleBounceSender+"@"+s.core.Myhostname)
}

// warn tells the sender once that the message is delayed. If that fails it is
// tried with the next round.
func (s *Scheduler) warn(m *queue.Message, now time.Time) {
	if s.set.DelayWarning == 0 || m.Warned || m.Sender == "" && !s.warnDelays || s.age(m, now) < s.set.DelayWarning {
		return
	}
	which := withState(m, queue.Pending)
	if len(which) == 0 {
		return
	}
	if err := s.notifier.Delay(s.ctx, m, which); err != nil {
		s.log.Warningf("%s: %v", m.ID, err)
		return
	}
	m.Warned = true
}

// backoff returns how long a message of an age waits for its next attempt.
func (s *Scheduler) backoff(age time.Duration) time.Duration {
	return min(max(age, s.set.MinBackoff), s.set.MaxBackoff)
}

// end takes a message out of the active ones, and lets others follow.
func (s *Scheduler) end(j *job) {
	s.mu.Lock()
	delete(s.active, j.m.ID)
	if j.m.Verify {
		s.probing--
	}
	again := j.again
	look := s.behind && len(s.active) <= s.set.ActiveLimit*3/4
	s.mu.Unlock()
	if again {
		s.activate(j.m.ID, true)
	}
	if look {
		s.ask(scan{})
	}
}

// retryLog is the log of the service that defers mail without a try.
func (s *Scheduler) retryLog() *maillog.Logger {
	if t := s.transport(serviceRetry); t != nil {
		return t.log
	}
	return s.log
}
