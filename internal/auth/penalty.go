package auth

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Penalties slow down those who guess passwords: each address with recent
// failures waits before the databases are asked, longer with each failure,
// as Dovecot's anvil does it.
const (
	penaltyExpiry  = 29 * time.Second // after the last failure
	maxPenaltyWait = 15 * time.Second
	maxPenalty     = 4 // failures that lengthen the wait
	maxPenalized   = 65536
	tripleHistory  = 8 // tried credentials remembered of each address
)

// penalties is the table of addresses with recent failures, the latest in
// front.
type penalties struct {
	mu    sync.Mutex
	addrs map[netip.Prefix]*list.Element
	order list.List // of *penalty
	seed  maphash.Seed
	now   func() time.Time
}

type penalty struct {
	net   netip.Prefix
	count int
	last  time.Time
	tried [tripleHistory]uint64 // hashes of user and password
	next  int
}

func newPenalties() *penalties {
	return &penalties{addrs: make(map[netip.Prefix]*list.Element), seed: maphash.MakeSeed(), now: time.Now}
}

// penaltyNet returns what shares a penalty: an IPv4 address, or a /48 of IPv6.
// Clients without address share one.
func penaltyNet(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	switch {
	case !ip.IsValid():
		return netip.Prefix{}
	case ip.Is4():
		return netip.PrefixFrom(ip, 32)
	}
	return netip.PrefixFrom(ip, 48).Masked()
}

// lookup returns the number of failures that count against ip.
func (p *penalties) lookup(ip netip.Addr) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
	if e := p.addrs[penaltyNet(ip)]; e != nil {
		return e.Value.(*penalty).count
	}
	return 0
}

// penaltyWait returns how long n failures make one wait.
func penaltyWait(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(2*time.Second<<min(n, maxPenalty), maxPenaltyWait)
}

// failed counts a failure against ip. The same credentials again, as of a
// client with an old password, do not count again.
func (p *penalties) failed(ip netip.Addr, user, password string) {
	var h maphash.Hash
	h.SetSeed(p.seed)
	h.WriteString(user)
	h.WriteByte(0)
	h.WriteString(password)
	sum := h.Sum64()

	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
	e := p.addrs[penaltyNet(ip)]
	if e == nil {
		if len(p.addrs) >= maxPenalized {
			p.drop(p.order.Back())
		}
		e = p.order.PushFront(&penalty{net: penaltyNet(ip)})
		p.addrs[penaltyNet(ip)] = e
	}
	pen := e.Value.(*penalty)
	pen.last = p.now()
	p.order.MoveToFront(e)
	for _, tried := range pen.tried {
		if tried == sum && pen.count > 0 {
			return
		}
	}
	pen.tried[pen.next] = sum
	pen.next = (pen.next + 1) % tripleHistory
	pen.count = min(pen.count+1, maxPenalty)
}

// reset forgets the failures of ip after a success.
func (p *penalties) reset(ip netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.addrs[penaltyNet(ip)]; e != nil {
		p.drop(e)
	}
}

func (p *penalties) drop(e *list.Element) {
	delete(p.addrs, e.Value.(*penalty).net)
	p.order.Remove(e)
}

// expire drops what is old; it looks at no more than that.
func (p *penalties) expire() {
	old := p.now().Add(-penaltyExpiry)
	for e := p.order.Back(); e != nil && e.Value.(*penalty).last.Before(old); e = p.order.Back() {
		p.drop(e)
	}
}
