package smtp

import (
	"sync"
	"time"
)

// A cache keeps connections that are between two messages, by next hop, the
// last used first. One timer ends those that were not used for a while.
type cache struct {
	limit time.Duration

	mu     sync.Mutex
	idle   map[string][]*session
	timer  *time.Timer
	closed bool
}

// take returns a kept connection, or nil. The caller owns it.
func (c *cache) take(nexthop string) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.idle[nexthop]
	if len(list) == 0 {
		return nil
	}
	s := list[len(list)-1]
	list[len(list)-1] = nil
	c.idle[nexthop] = list[:len(list)-1]
	return s
}

// put keeps a connection.
func (c *cache) put(nexthop string, s *session) {
	s.idleSince = time.Now()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		s.quit()
		return
	}
	defer c.mu.Unlock()
	if c.idle == nil {
		c.idle = make(map[string][]*session)
	}
	c.idle[nexthop] = append(c.idle[nexthop], s)
	if c.timer == nil {
		c.timer = time.AfterFunc(c.limit, c.expire)
	}
}

// expire ends connections that have been idle too long.
func (c *cache) expire() {
	var old []*session
	now := time.Now()
	c.mu.Lock()
	for nexthop, list := range c.idle {
		n := 0
		for n < len(list) && now.Sub(list[n].idleSince) >= c.limit {
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(c.idle, nexthop)
			continue
		}
		c.idle[nexthop] = append([]*session(nil), list[n:]...)
	}
	c.timer = nil
	if len(c.idle) > 0 && !c.closed {
		c.timer = time.AfterFunc(c.limit/2, c.expire)
	}
	c.mu.Unlock()
	for _, s := range old {
		s.leave()
	}
}

// close ends all connections, and keeps none from now on.
func (c *cache) close() {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.clear()
}

// clear ends all connections.
func (c *cache) clear() {
	c.mu.Lock()
	all := c.idle
	c.idle = nil
	c.mu.Unlock()
	for _, list := range all {
		for _, s := range list {
			s.leave()
		}
	}
}
