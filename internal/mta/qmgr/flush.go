package qmgr

import (
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// ask asks for a look at the store. A flush that is asked for is not forgotten
// for an ordinary look.
func (s *Scheduler) ask(sc scan) {
	for {
		select {
		case s.scan <- sc:
			return
		case other := <-s.scan:
			sc.flush = sc.flush || other.flush
		}
	}
}

// Flush tries all deferred mail now, dead destinations and defer_transports
// included (postqueue -f).
func (s *Scheduler) Flush() {
	s.revive()
	s.ask(scan{flush: true})
}

// revive makes all dead destinations usable.
func (s *Scheduler) revive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.transports {
		t.down = time.Time{}
		for _, d := range t.dests {
			if !d.dead.IsZero() {
				d.revive()
				d.forget()
			}
		}
	}
}

// FlushMessage tries one deferred message now (postqueue -i).
func (s *Scheduler) FlushMessage(id string) {
	s.mu.Lock()
	if j := s.active[id]; j != nil {
		j.again = true
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	if inf, ok := s.store.Lookup(id); ok && inf.Queue == queue.Waiting {
		s.activate(id, true)
	}
}

// FlushSites tries the deferred mail for some domains, in lower case, now
// (postqueue -s, ETRN).
func (s *Scheduler) FlushSites(domains []string) {
	for _, inf := range s.store.List() {
		if inf.Queue != queue.Waiting {
			continue
		}
		m, err := s.store.Load(inf.ID)
		if err != nil || !isFor(m, domains) {
			continue
		}
		s.FlushMessage(inf.ID)
	}
}

// isFor says whether recipients of one of the domains are still to be tried.
func isFor(m *queue.Message, domains []string) bool {
	for i := range m.Recipients {
		if m.Outcomes[i].State != queue.Pending {
			continue
		}
		_, d := smtp.SplitAddress(m.Recipients[i].Address)
		if slices.Contains(domains, strings.ToLower(d)) {
			return true
		}
	}
	return false
}

// Released tells that a message is not on hold anymore: it is tried now
// (postsuper -H).
func (s *Scheduler) Released(id string) {
	if inf, ok := s.store.Lookup(id); ok && inf.Queue != queue.Held {
		s.activate(id, false)
	}
}

// ActiveCount returns the number of messages being delivered.
func (s *Scheduler) ActiveCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active)
}
