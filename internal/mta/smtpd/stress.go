package smtpd

import (
	"sync"
	"sync/atomic"
	"time"
)

// stress is what a server knows of its load. While all its sessions are taken, and for some
// time after, new clients are served with stress = yes in the configuration, whose defaults
// and restrictions may then be others (STRESS_README).
type stress struct {
	until  atomic.Int64 // unix time
	once   sync.Once
	server *Server // the same service with stress = yes; nil: there is none
}

// stressTime is how long a service that was full is under stress, as with Postfix.
const stressTime = 1000 * time.Second

// current is the server for a new client, when the service has taken that many sessions.
func (s *Server) current(sessions, limit int) *Server {
	now := s.now()
	stressed := now.Unix() < s.stress.until.Load()
	if sessions >= limit {
		if !stressed {
			s.log.Warningf("service \"%s\" has reached its process limit \"%d\": new clients may experience noticeable delays", s.service, limit)
			s.log.Warningf("to avoid this condition, increase the process count in master.cf or reduce the service time per client")
			s.log.Warningf("see https://www.postfix.org/STRESS_README.html for examples of stress-adapting configuration settings")
		}
		stressed = true
		s.stress.until.Store(now.Add(stressTime).Unix())
	}
	if !stressed || s.checks.Stress != "" {
		return s
	}
	s.stress.once.Do(s.makeStressed)
	if s.stress.server == nil {
		return s
	}
	return s.stress.server
}

// makeStressed makes the server that serves under stress. It is made when it is needed:
// most servers never are.
func (s *Server) makeStressed() {
	c := s.config
	c.Main = c.Main.With(map[string]string{"stress": "yes"})
	t, err := New(c)
	if err != nil {
		s.log.Warningf("service \"%s\" with stress = yes: %v", s.service, err)
		return
	}
	t.stopping = s.stopping
	s.stress.server = t
}
