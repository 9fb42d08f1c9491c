package mail

import (
	"net/netip"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// userConnections counts the sessions of each user from each address. All
// sessions of a user are in one process.
type userConnections struct {
	mu    sync.Mutex
	count map[userAddress]uint32
}

type userAddress struct {
	service, user string
	remote        netip.Addr
}

// take counts a session, unless there are limit of them already. Zero is no limit.
func (c *userConnections) take(service string, info *store.UserInfo, limit uint32) (release func(), ok bool) {
	key := userAddress{service, info.Username, info.Remote}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = make(map[userAddress]uint32)
	}
	if limit > 0 && c.count[key] >= limit {
		return nil, false
	}
	c.count[key]++
	return func() { c.release(key) }, true
}

func (c *userConnections) release(key userAddress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[key]--; c.count[key] == 0 {
		delete(c.count, key)
	}
}
