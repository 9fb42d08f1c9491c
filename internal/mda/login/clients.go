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

// add registers a client. If there are too many, the oldest has to go; one whose
// password is being checked stays as long as there is another, as with Dovecot.
func (s *Server) add(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.MaxClients > 0 && s.clients.len >= s.MaxClients {
		s.victim().interrupt(textQueueFull, causeQueueFull)
	}
	s.clients.push(c)
}

// lookAt is how many of the oldest clients are considered.
const lookAt = 16

func (s *Server) victim() *session {
	c := s.clients.first
	for i := 0; c != nil && i < lookAt; i++ {
		if !c.busy.Load() && c.interrupted.Load() == nil {
			return c
		}
		c = c.next
	}
	return s.clients.first
}

func (s *Server) remove(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients.remove(c)
}
