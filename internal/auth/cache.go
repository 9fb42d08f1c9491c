package auth

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"sync"
	"time"
)

// A cache keeps what databases said (auth_cache_size), the latest used in front. Its
// keys are hashed, since they may have passwords in them; values are overwritten when
// they go.
type cache struct {
	size             int // bytes
	ttl, negativeTTL time.Duration
	secret           [sha256.Size]byte
	now              func() time.Time

	mu    sync.Mutex
	nodes map[cacheKey]*list.Element
	order list.List // of *cacheNode
	used  int
	stats cacheStats
}

// A cacheKey names an entry.
type cacheKey [sha256.Size]byte

type cacheNode struct {
	key   cacheKey
	owner cacheKey // of the user name, for flushing
	value []byte   // empty: no such user
	made  time.Time
	right bool // the last password was
}

// nodeOverhead is what an entry takes besides its value: itself, in the list, and in
// the map.
const nodeOverhead = 320

func (n *cacheNode) size() int { return nodeOverhead + len(n.value) }

// cacheStats count since they were last logged.
type cacheStats struct {
	hits, misses       int
	positive, negative cacheCount
}

type cacheCount struct{ entries, bytes int }

func (c *cacheCount) add(bytes int) {
	c.entries++
	c.bytes += bytes
}

func newCache(size int, ttl, negativeTTL time.Duration) *cache {
	c := &cache{size: size, ttl: ttl, negativeTTL: negativeTTL, now: time.Now, nodes: make(map[cacheKey]*list.Element)}
	rand.Read(c.secret[:])
	return c
}

// hash makes a key of text.
func (c *cache) hash(text string) (key cacheKey) {
	h := hmac.New(sha256.New, c.secret[:])
	h.Write([]byte(text))
	h.Sum(key[:0])
	return key
}

// A memory is an entry as it was found.
type memory struct {
	value           string // empty: no such user
	right           bool   // the last password was
	expired         bool
	negativeExpired bool // too old for refusing anybody
}

// get returns an entry, also one that has expired.
func (c *cache) get(key cacheKey) (m memory, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.nodes[key]
	if e == nil {
		c.stats.misses++
		return memory{}, false
	}
	n := e.Value.(*cacheNode)
	age := c.now().Sub(n.made)
	m = memory{value: string(n.value), right: n.right, negativeExpired: age > c.negativeTTL}
	m.expired = age > c.ttl
	if len(n.value) == 0 {
		m.expired = m.negativeExpired
	}
	if m.expired {
		c.stats.misses++
		return m, true
	}
	c.order.MoveToFront(e)
	c.stats.hits++
	return m, true
}

// put keeps an answer. text is the key before it was hashed: its second field begins
// the variables, with the user name if that is one of them.
func (c *cache) put(key cacheKey, text string, value []byte, right bool) {
	if len(value) == 0 && c.negativeTTL == 0 {
		return
	}
	_, rest, _ := strings.Cut(text, "\t")
	owner, _, _ := strings.Cut(rest, "\t")
	n := &cacheNode{key: key, owner: c.hash(owner), value: value, made: c.now(), right: right}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(c.nodes[key])
	if n.size() > c.size {
		return
	}
	for c.used+n.size() > c.size {
		c.remove(c.order.Back())
	}
	c.nodes[key] = c.order.PushFront(n)
	c.used += n.size()
	if len(value) == 0 {
		c.stats.negative.add(n.size())
	} else {
		c.stats.positive.add(n.size())
	}
}

// tell keeps whether the last password was right.
func (c *cache) tell(key cacheKey, right bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.nodes[key]; e != nil {
		e.Value.(*cacheNode).right = right
	}
}

// remove drops an entry, if there is one.
func (c *cache) remove(e *list.Element) {
	if e == nil {
		return
	}
	n := e.Value.(*cacheNode)
	c.used -= n.size()
	clear(n.value)
	delete(c.nodes, n.key)
	c.order.Remove(e)
}

// forget drops the entry of a key.
func (c *cache) forget(key cacheKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(c.nodes[key])
}

// flush drops the entries of users, or all if none is named, and returns their number.
func (c *cache) flush(users ...string) (dropped int) {
	owners := make(map[cacheKey]bool, len(users))
	for _, user := range users {
		owners[c.hash(user)] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil; {
		next := e.Next()
		if len(users) == 0 || owners[e.Value.(*cacheNode).owner] {
			c.remove(e)
			dropped++
		}
		e = next
	}
	return dropped
}

// takeStats returns the counts and how many bytes are in use, and begins to count anew.
func (c *cache) takeStats() (s cacheStats, used int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, c.stats = c.stats, cacheStats{}
	return s, c.used
}
