package dns

import (
	"sync"
	"time"
)

// maxCached bounds the cache. A full one forgets any answer for a new one.
const maxCached = 10_000

// A question is what answers are remembered by.
type question struct {
	name  string
	qtype uint16
}

// A cache remembers answers for their TTL.
type cache struct {
	mu      sync.Mutex
	entries map[question]cached
}

type cached struct {
	reply *reply
	until time.Time
}

// get returns an answer with what is left of its TTL.
func (c *cache) get(q question) *reply {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[q]
	if !ok {
		return nil
	}
	left := e.until.Sub(now)
	if left <= 0 {
		delete(c.entries, q)
		return nil
	}
	r := *e.reply
	r.ttl = left
	return &r
}

func (c *cache) put(q question, r *reply) {
	if r.ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[question]cached)
	}
	if len(c.entries) >= maxCached {
		for victim := range c.entries {
			delete(c.entries, victim)
			break
		}
	}
	c.entries[q] = cached{r, time.Now().Add(r.ttl)}
}
