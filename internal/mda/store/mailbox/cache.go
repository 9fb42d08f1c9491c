package mailbox

import (
	"container/list"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/message"
)

// Bounds of what is kept of messages read lately: entries, and the bytes of
// structures among them, by estimate.
const (
	maxCached      = 16384
	maxCachedBytes = 64 << 20
	detailsSize    = 256
)

// A messageCache keeps what was read of message files, for all mailboxes of a
// pool. What it says of a message never changes.
type messageCache struct {
	mu      sync.Mutex
	entries map[messageKey]*list.Element
	lru     list.List // of *cached, latest first
	bytes   int
}

type messageKey struct {
	b   *box
	uid uint32
}

type cached struct {
	key       messageKey
	details   *Details
	structure *message.Structure
	texts     [renderings]*rendered
	bytes     int
}

func newMessageCache() *messageCache {
	return &messageCache{entries: make(map[messageKey]*list.Element)}
}

func (c *messageCache) details(b *box, uid uint32) *Details {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[messageKey{b, uid}]; e != nil {
		c.lru.MoveToFront(e)
		return e.Value.(*cached).details
	}
	return nil
}

func (c *messageCache) structure(b *box, uid uint32) *message.Structure {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[messageKey{b, uid}]; e != nil {
		c.lru.MoveToFront(e)
		return e.Value.(*cached).structure
	}
	return nil
}

func (c *messageCache) putDetails(b *box, uid uint32, d *Details) {
	c.put(messageKey{b, uid}, detailsSize, func(e *cached) { e.details = d })
}

func (c *messageCache) putStructure(b *box, uid uint32, s *message.Structure) {
	c.put(messageKey{b, uid}, structureSize(s), func(e *cached) { e.structure = s })
}

func (c *messageCache) rendered(b *box, uid uint32, what rendering) *rendered {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[messageKey{b, uid}]; e != nil {
		c.lru.MoveToFront(e)
		return e.Value.(*cached).texts[what]
	}
	return nil
}

func (c *messageCache) putRendered(b *box, uid uint32, what rendering, r *rendered) {
	c.put(messageKey{b, uid}, r.size(), func(e *cached) { e.texts[what] = r })
}

// structureSize estimates what a structure takes: its parts, and the text of the
// header fields kept.
func structureSize(s *message.Structure) int {
	return 1024*s.Parts + int(min(s.Root.Header.Physical, 32<<10))
}

func (c *messageCache) put(key messageKey, bytes int, set func(*cached)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		e = c.lru.PushFront(&cached{key: key})
		c.entries[key] = e
	}
	entry := e.Value.(*cached)
	set(entry)
	entry.bytes += bytes
	c.bytes += bytes
	for c.lru.Len() > maxCached || c.bytes > maxCachedBytes && c.lru.Len() > 1 {
		c.remove(c.lru.Back())
	}
}

func (c *messageCache) remove(e *list.Element) {
	entry := e.Value.(*cached)
	c.lru.Remove(e)
	delete(c.entries, entry.key)
	c.bytes -= entry.bytes
}

// drop forgets a message.
func (c *messageCache) drop(b *box, uid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[messageKey{b, uid}]; e != nil {
		c.remove(e)
	}
}

// dropBox forgets all messages of a mailbox that is closed.
func (c *messageCache) dropBox(b *box) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.lru.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*cached).key.b == b {
			c.remove(e)
		}
		e = next
	}
}
