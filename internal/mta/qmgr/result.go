package qmgr

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
)

// logResult logs what became of one address that a recipient was expanded to, as
// if it were a recipient itself.
func (s *Scheduler) logResult(j *job, address, original string, st *deliver.Status, log *maillog.Logger, start time.Time) {
	m := j.m
	word := statusWords[st.Action]
	switch {
	case isProbe(m):
		word = probeWord(st.Action)
	case st.Action == deliver.Bounced && s.core.SoftBounce:
		soft := *st
		soft.Enhanced[0] = 4
		st, word = &soft, "SOFTBOUNCE"
	}
	s.logRecipient(log, m, address, original, word, st, times{m.Arrival, j.active, start, s.now()})
}

// log is that of the transport which made the delivery.
func (dl *delivery) log(st *deliver.Status) *maillog.Logger {
	if st.Via != "" {
		if t := dl.t.s.transport(st.Via); t != nil {
			return t.log
		}
	}
	return dl.t.log
}

// result is [deliver.Request.Result].
func (dl *delivery) result(_ int, address, original string, st *deliver.Status) {
	dl.t.s.logResult(dl.b.job, address, original, st, dl.log(st), dl.start)
}
