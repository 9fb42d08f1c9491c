package qmgr

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// actions are the words of RFC 3464 2.3.3.
var actions = [...]string{
	deliver.Deferred:  "delayed",
	deliver.Delivered: "delivered",
	deliver.Relayed:   "relayed",
	deliver.Bounced:   "failed",
	deliver.Expanded:  "expanded",
	deliver.Final:     "delivered",
}

// outcome takes what became of a recipient: into the store, then the log.
func (s *Scheduler) outcome(j *job, to target, st *deliver.Status, log *maillog.Logger, start time.Time) {
	m := j.m
	rcpt := &m.Recipients[to.i]
	word := statusWords[st.Action]
	if st.Action == deliver.Bounced && s.core.SoftBounce {
		soft := *st
		soft.Action, soft.Enhanced[0] = deliver.Deferred, 4
		st, word = &soft, "SOFTBOUNCE"
	}
	o := &m.Outcomes[to.i]
	*o = queue.Outcome{
		State: state(st.Action, rcpt), Action: actions[st.Action], DSN: st.Enhanced.String(),
		Text: st.Text, RemoteMTA: st.RemoteMTA, RemoteCode: st.RemoteCode,
	}
	switch o.State {
	case queue.Done:
		*o = queue.Outcome{State: queue.Done}
	case queue.Delivered:
		if st.Relay != "none" {
			o.Text = "delivery via " + st.Relay + ": " + st.Text
		}
	}
	s.record(j, to.i)
	s.logRecipient(log, m, rcpt, to.addr, word, st, times{m.Arrival, j.active, start, s.now()})
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
func state(a deliver.Action, rcpt *queue.Recipient) queue.State {
	switch a {
	case deliver.Deferred:
		return queue.Pending
	case deliver.Bounced:
		return queue.Failed
	case deliver.Relayed, deliver.Expanded, deliver.Final:
		if rcpt.Notify&queue.NotifySuccess != 0 {
			return queue.Delivered
		}
	}
	return queue.Done
}
