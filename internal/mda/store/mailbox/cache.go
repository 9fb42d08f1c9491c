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
	mu    sync.Mutex
	boxes map[*box]map[uint32]*list.Element // by uid
	lru   list.List                         // of *cached, latest first
	bytes int
}

type cached struct {
	b         *box
	uid       uint32
	details   *Details
	structure *message.Structure
	texts     [renderings]*rendered
	bytes     int
}

func newMessageCache() *messageCache {
	return &messageCache{boxes: make(map[*box]map[uint32]*list.Element)}
}

// get calls fn with what is kept of a message, if there is anything.
func (c *messageCache) get(b *box, uid uint32, fn func(*cached)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.boxes[b][uid]; e != nil {
		c.lru.MoveToFront(e)
		fn(e.Value.(*cached))
	}
}

func (c *messageCache) details(b *box, uid uint32) (d *Details) {
	c.get(b, uid, func(e *cached) { d = e.details })
	return d
}

func (c *messageCache) structure(b *box, uid uint32) (s *message.Structure) {
	c.get(b, uid, func(e *cached) { s = e.structure })
	return s
}

func (c *messageCache) rendered(b *box, uid uint32, what rendering) (r *rendered) {
	c.get(b, uid, func(e *cached) { r = e.texts[what] })
	return r
}

func (c *messageCache) putDetails(b *box, uid uint32, d *Details) {
	c.put(b, uid, detailsSize, func(e *cached) { e.details = d })
}

func (c *messageCache) putStructure(b *box, uid uint32, s *message.Structure) {
	c.put(b, uid, structureSize(s), func(e *cached) { e.structure = s })
}

func (c *messageCache) putRendered(b *box, uid uint32, what rendering, r *rendered) {
	c.put(b, uid, r.size(), func(e *cached) { e.texts[what] = r })
}

// structureSize estimates what a structure takes: its parts, and the text of the
// header fields kept.
func structureSize(s *message.Structure) int {
	return 1024*s.Parts + int(min(s.Root.Header.Physical, 32<<10))
}

func (c *messageCache) put(b *box, uid uint32, bytes int, set func(*cached)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uids := c.boxes[b]
	if uids == nil {
		uids = make(map[uint32]*list.Element)
		c.boxes[b] = uids
	}
	e := uids[uid]
	if e == nil {
		e = c.lru.PushFront(&cached{b: b, uid: uid})
		uids[uid] = e
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
	c.bytes -= entry.bytes
	uids := c.boxes[entry.b]
	if delete(uids, entry.uid); len(uids) == 0 {
		delete(c.boxes, entry.b)
	}
}

// drop forgets a message.
func (c *messageCache) drop(b *box, uid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.boxes[b][uid]; e != nil {
		c.remove(e)
	}
}

// dropBox forgets all messages of a mailbox: it is closed, or its uids may mean others.
func (c *messageCache) dropBox(b *box) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.boxes[b] {
		c.remove(e)
	}
}
