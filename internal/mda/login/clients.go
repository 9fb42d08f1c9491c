package login

// A clientList is the clients that have not logged in, oldest first. The zero
// value is empty.
type clientList struct {
	first, last *session
	len         int
}

func (l *clientList) push(c *session) {
	c.prev = l.last
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	l.len++
}

func (l *clientList) remove(c *session) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	l.len--
}

// add registers a client. If there are too many, the oldest has to go. As that
// takes a moment, there may be twice as many for a while; a client beyond
// that is not taken, so that those who are slow to leave cannot pile up.
func (s *Server) add(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.MaxClients > 0 && s.clients.len >= s.MaxClients {
		if s.clients.len >= 2*s.MaxClients {
			return false
		}
		if victim := s.victim(); victim != nil {
			victim.interrupt(textQueueFull, causeQueueFull)
		}
	}
	s.clients.push(c)
	return true
}

// lookAt is how many of the oldest clients that could go are considered.
const lookAt = 16

// victim is the client that has to go: the oldest, but one whose password is being
// checked only if there is no other, as with Dovecot, and none that is on its way
// to the mail process.
func (s *Server) victim() *session {
	var second *session
	seen := 0
	for c := s.clients.first; c != nil && seen < lookAt; c = c.next {
		if c.interrupted.Load() != nil {
			continue
		}
		seen++
		switch c.busy.Load() {
		case idle:
			return c
		case authenticating:
			if second == nil {
				second = c
			}
		}
	}
	return second
}

func (s *Server) remove(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients.remove(c)
}
