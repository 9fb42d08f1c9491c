package qmgr

import (
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// The log lines of qmgr(8) and of the delivery agents, word for word. They are
// written for every message, so without fmt.

// logActive: ID: from=<sender>, size=n, nrcpt=n (queue active)
func (s *Scheduler) logActive(m *queue.Message) {
	s.log.Append(maillog.Info, func(b []byte) []byte {
		b = appendFrom(b, m)
		b = append(b, ", size="...)
		b = strconv.AppendInt(b, m.Size, 10)
		b = append(b, ", nrcpt="...)
		b = strconv.AppendInt(b, int64(recipients(m)), 10)
		return append(b, " (queue active)"...)
	})
}

// recipients is how many recipients of a message there are to deliver to.
func recipients(m *queue.Message) int {
	if isAliased(m) {
		return 0
	}
	n := len(m.Recipients)
	for i := range m.Recipients {
		if m.Recipients[i].Expanded {
			n--
		}
	}
	return n
}

// logExpired: ID: from=<sender>, status=expired, returned to sender
func (s *Scheduler) logExpired(m *queue.Message) {
	s.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(appendFrom(b, m), ", status="...)
		if m.Expired {
			b = append(b, "force-"...)
		}
		return append(b, "expired, returned to sender"...)
	})
}

func appendFrom(b []byte, m *queue.Message) []byte {
	b = append(b, m.ID...)
	b = append(b, ": from=<"...)
	b = smtp.AppendAddress(b, m.Sender)
	return append(b, '>')
}

// logRemoved: ID: removed
func (s *Scheduler) logRemoved(m *queue.Message) {
	s.log.Append(maillog.Info, func(b []byte) []byte {
		return append(append(b, m.ID...), ": removed"...)
	})
}

// A times is when the stages of a delivery began.
type times struct {
	arrival, active, start, done time.Time
}

// status is the word for what became of a recipient.
var statusWords = [...]string{
	deliver.Deferred:  "deferred",
	deliver.Delivered: "sent",
	deliver.Relayed:   "sent",
	deliver.Bounced:   "bounced",
	deliver.Expanded:  "sent",
	deliver.Final:     "sent",
}

// logRecipient: ID: to=<R>[, orig_to=<O>], relay=, delay=, delays=a/b/c/d,
// dsn=, status=sent (text)
func (s *Scheduler) logRecipient(log *maillog.Logger, m *queue.Message, addr, original, word string, st *deliver.Status, t times) {
	log.Append(maillog.Info, func(b []byte) []byte {
		b = append(b, m.ID...)
		b = append(b, ": to=<"...)
		b = smtp.AppendAddress(b, addr)
		b = append(b, '>')
		if original != "" && !strings.EqualFold(original, addr) {
			b = append(b, ", orig_to=<"...)
			b = smtp.AppendAddress(b, original)
			b = append(b, '>')
		}
		b = append(b, ", relay="...)
		b = append(b, st.Relay...)
		if st.Uses > 1 {
			b = append(b, ", conn_use="...)
			b = strconv.AppendInt(b, int64(st.Uses), 10)
		}
		b = s.appendDelays(b, st, t)
		b = append(b, ", dsn="...)
		b = st.Enhanced.Append(b)
		b = append(b, ", status="...)
		b = append(b, word...)
		b = append(b, " ("...)
		b = append(b, st.Text...)
		return append(b, ')')
	})
}

// appendDelays: the time in the queue, and its parts: before the queue
// manager, in it, setting up the connection, transmission.
func (s *Scheduler) appendDelays(b []byte, st *deliver.Status, t times) []byte {
	setup, transmission := time.Duration(0), t.done.Sub(t.start)
	switch {
	case !st.Transmit.IsZero():
		setup = st.Transmit.Sub(t.start)
		transmission = t.done.Sub(st.Transmit)
	case !st.Connected.IsZero():
		setup, transmission = transmission, 0
	}
	parts := [...]time.Duration{t.active.Sub(t.arrival), t.start.Sub(t.active), setup, transmission}
	b = append(b, ", delay="...)
	b = appendSeconds(b, t.done.Sub(t.arrival), s.set.DelayDigits)
	b = append(b, ", delays="...)
	for i, d := range parts {
		if i > 0 {
			b = append(b, '/')
		}
		b = appendSeconds(b, d, s.set.DelayDigits)
	}
	return b
}

// appendSeconds appends d in seconds with two significant digits and at most
// digits behind the decimal point, without trailing zeros.
func appendSeconds(b []byte, d time.Duration, digits int) []byte {
	usec := max(d.Microseconds(), 0)
	const million = 1000000
	// How many digits behind the point make two significant ones.
	want := 0
	switch {
	case usec >= 10*million:
	case usec >= million:
		want = 1
	default:
		want = 2
		for unit := int64(million / 10); unit > 1 && usec < unit; unit /= 10 {
			want++
		}
	}
	want = min(want, digits)
	unit := int64(million)
	for range want {
		unit /= 10
	}
	n := (usec + unit/2) / unit // in units of 10^-want
	scale := million / unit
	b = strconv.AppendInt(b, n/scale, 10)
	rest := n % scale
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for rest > 0 {
		scale /= 10
		b = append(b, byte('0'+rest/scale))
		rest %= scale
	}
	return b
}
