package qmgr

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// outcomeOf is what is kept of a status.
func outcomeOf(st *deliver.Status) queue.Outcome {
	return queue.Outcome{
		Action: st.Action.String(), DSN: st.Enhanced.String(),
		Text: st.Text, RemoteMTA: st.RemoteMTA, RemoteCode: st.RemoteCode,
	}
}

// outcome takes what became of a recipient: into the store, then the log.
func (s *Scheduler) outcome(j *job, to target, st *deliver.Status, log *maillog.Logger, start time.Time) {
	m := j.m
	rcpt := &m.Recipients[to.i]
	word := statusWords[st.Action]
	switch {
	case isProbe(m):
		word = s.probed(j, to, st)
	case st.Action == deliver.Bounced && s.core.SoftBounce:
		soft := *st
		soft.Action, soft.Enhanced[0] = deliver.Deferred, 4
		st, word = &soft, "SOFTBOUNCE"
		fallthrough
	default:
		s.delivered(j, to, st)
	}
	s.record(j, to.i)
	if st.Logged {
		return
	}
	s.logRecipient(log, m, to.addr, rcpt.Original, word, st, times{m.Arrival, j.active, start, s.now()})
}

// delivered takes what became of a recipient of mail that is really delivered.
func (s *Scheduler) delivered(j *job, to target, st *deliver.Status) {
	m := j.m
	o := &m.Outcomes[to.i]
	*o = outcomeOf(st)
	o.State = s.state(st.Action, m, to.i)
	if isTraced(m) {
		s.note(j, to.i, st)
		if o.State == queue.Done {
			o.State = queue.Delivered
		}
	}
	switch o.State {
	case queue.Done:
		*o = queue.Outcome{State: queue.Done}
	case queue.Delivered:
		o.Text = st.Reason()
	}
}

// record puts an outcome into the store. A deferral waits for the end of the
// round, which is no loss: the recipient is tried again anyway.
func (s *Scheduler) record(j *job, i int) {
	o := &j.m.Outcomes[i]
	if o.State == queue.Pending {
		return
	}
	last := false
	if o.State == queue.Done {
		j.mu.Lock()
		j.open--
		last = j.open == 0
		j.mu.Unlock()
	}
	if last {
		s.store.Remove(j.m)
		return
	}
	s.store.Record(j.m, i)
}

// state says what is left to do for a recipient after an action: nothing,
// unless it is to be tried again or the sender is to be told (RFC 3461 4.1). Of
// failures the postmaster may want to know even when the sender does not.
func (s *Scheduler) state(a deliver.Action, m *queue.Message, i int) queue.State {
	notify := m.Recipients[i].Notify
	switch a {
	case deliver.Deferred:
		return queue.Pending
	case deliver.Bounced:
		return queue.Failed
	case deliver.Relayed, deliver.Expanded, deliver.Final:
		if notify&queue.NotifySuccess != 0 {
			return queue.Delivered
		}
	}
	// Who was warned hears the end of it.
	if s.set.ConfirmDelay && m.Warned && (notify == 0 || notify&queue.NotifyDelay != 0) {
		return queue.Delivered
	}
	return queue.Done
}
