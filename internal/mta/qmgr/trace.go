package qmgr

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// A message may be there only to learn what delivery would say: for the verify
// service (an address probe), or for its sender, who gets a report (sendmail
// -bv). Each recipient is done after one try then. With sendmail -v the sender
// gets a report of the first round of real deliveries.

// isProbe says whether nothing is delivered.
func isProbe(m *queue.Message) bool { return m.Verify || m.Trace == queue.TraceVerify }

// isTraced says whether the sender is to be told how the recipients fare.
func isTraced(m *queue.Message) bool { return m.Trace != 0 && !m.Traced && !m.Verify }

// probeWords are the actions and log words of a probe.
func probeWord(a deliver.Action) string {
	if a == deliver.Deferred || a == deliver.Bounced {
		return "undeliverable"
	}
	return "deliverable"
}

// probed takes what a probe found out about a recipient.
func (s *Scheduler) probed(j *job, to target, st *deliver.Status) (word string) {
	m := j.m
	word = probeWord(st.Action)
	o := &m.Outcomes[to.i]
	if !m.Verify {
		*o = outcomeOf(st)
		o.State, o.Action = queue.Delivered, word
		s.note(j, to.i, st)
		return word
	}
	*o = queue.Outcome{State: queue.Done}
	if word != "deliverable" && !s.set.NegativeCache {
		return "undeliverable-but-not-cached"
	}
	if s.probes != nil {
		rcpt := &m.Recipients[to.i]
		s.probes.Result(rcpt.Original, st.Action, st.Text)
		if rcpt.Original != to.addr {
			s.probes.Result(to.addr, st.Action, st.Text)
		}
	}
	return word
}

// note remembers an outcome for the report of the trace service.
func (s *Scheduler) note(j *job, i int, st *deliver.Status) {
	o := outcomeOf(st)
	o.Text = st.Reason()
	if isProbe(j.m) {
		o.Action = probeWord(st.Action)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.trace == nil {
		j.trace = make([]queue.Outcome, len(j.m.Recipients))
	}
	if j.trace[i].Action == "" {
		j.order = append(j.order, i)
	}
	j.trace[i] = o
}

// traced returns the message as the trace service is to report it, or nil.
func (s *Scheduler) traced(j *job) *queue.Message {
	if !isTraced(j.m) {
		return nil
	}
	m := *j.m
	m.Outcomes = slices.Clone(m.Outcomes)
	for i := range j.trace {
		if j.trace[i].Action != "" {
			m.Outcomes[i] = j.trace[i]
		}
	}
	return &m
}

// tellTrace sends the report of the trace service, if there is to be one. It
// reports false if that must be tried again.
func (s *Scheduler) tellTrace(j *job, m *queue.Message) bool {
	if m == nil {
		return true
	}
	which := j.order
	for i := range m.Outcomes {
		// What was found out before a restart has no place in the order.
		if m.Outcomes[i].Action != "" && (j.trace == nil || j.trace[i].Action == "") {
			which = append(which, i)
		}
	}
	if len(which) > 0 {
		if err := s.notifier.Trace(s.ctx, m, which); err != nil {
			s.log.Warningf("%s: %v", m.ID, err)
			return false
		}
	}
	j.m.Traced = true
	s.settle(j.m, withState(j.m, queue.Delivered))
	return true
}
