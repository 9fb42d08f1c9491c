package qmgr

import (
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// ages tells how old messages are, whatever is done to the clock. A machine
// that starts without the time and gets it from the network later must not
// return what came in before as too old. What the clock jumped is known from
// the monotonic clock, which Go's times carry; it is forgotten with the process.
type ages struct {
	mu    sync.Mutex
	on    bool
	last  time.Time // the clock when it was last looked at
	jumps []jump
}

// A jump is one forward.
type jump struct {
	at time.Time // the clock before
	by time.Duration
}

const (
	// minJump is what is not taken for an adjustment.
	minJump = time.Hour
	// maxJumps bounds what is remembered. More are a broken clock.
	maxJumps = 100
)

// start begins to watch the clock.
func (a *ages) start(now time.Time) { a.on, a.last = true, now }

// observe looks at the clock, and returns by how much it jumped forward.
func (a *ages) observe(now time.Time, passed time.Duration) time.Duration {
	by := now.Round(0).Sub(a.last.Round(0)) - passed
	if by >= minJump && len(a.jumps) < maxJumps {
		a.jumps = append(a.jumps, jump{a.last.Round(0), by})
	}
	a.last = now
	return by
}

// of returns the age of what arrived then.
func (a *ages) of(arrival, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	age := now.Sub(arrival)
	for i := range a.jumps {
		// The clock was looked at some time before it jumped.
		if arrival.Before(a.jumps[i].at.Add(a.jumps[i].by)) {
			age -= a.jumps[i].by
		}
	}
	return age
}

// watchClock takes note of a jump of the clock.
func (s *Scheduler) watchClock(now time.Time) {
	a := &s.ages
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.on {
		return
	}
	if by := a.observe(now, now.Sub(a.last)); by >= minJump {
		s.log.Warningf("the clock was set forward by %v, which does not count for the age of mail that was here before", by.Round(time.Second))
	}
}

// age returns how long a message has been in the queue. It may have arrived long before: it has waited in
// maildrop, or was put back by postsuper -r.
func (s *Scheduler) age(m *queue.Message, now time.Time) time.Duration {
	s.watchClock(now)
	return s.ages.of(m.Queued, now)
}

// isDue says whether the time of an attempt has come. It is never further off
// than maximal_backoff_time, unless the clock was set back meanwhile.
func (s *Scheduler) isDue(next, now time.Time) bool {
	return !next.After(now) || next.After(now.Add(s.set.MaxBackoff+time.Minute))
}
