package auth

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Penalties slow down those who guess passwords: each address with recent
// failures waits before the databases are asked, longer with each failure,
// as Dovecot's auth and anvil do it.
const (
	penaltyExpiry  = 29 * time.Second // after the last failure
	maxPenaltyWait = 15 * time.Second
	maxPenalty     = 4 // failures that lengthen the wait
	maxPenalized   = 65536
	maxTried       = 10 // credentials remembered of each address
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
	standing
	tried []uint64 // hashes of user and password, the latest first
}

// A standing is how an address stands.
type standing struct {
	Net     netip.Prefix // not valid for clients without address
	Count   int          // of failures, up to a limit
	Last    time.Time    // failure that counted, or success that forgave
	Updated time.Time    // last failure or success
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

// lookup returns the number of failures that count against ip. Those are fewer the
// longer ago the last of them was.
func (p *penalties) lookup(ip netip.Addr) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
	e := p.addrs[penaltyNet(ip)]
	if e == nil {
		return 0
	}
	pen := e.Value.(*penalty)
	count, age := pen.Count, p.now().Sub(pen.Last)
	for waited := maxPenalty; count > 0 && age >= penaltyWait(waited); waited-- {
		count--
	}
	return count
}

// penaltyWait returns how long n failures make one wait.
func penaltyWait(n int) time.Duration {
	if n <= 0 {
		return 0
	}
	return min(2*time.Second<<min(n, maxPenalty), maxPenaltyWait)
}

// failed counts a failure against ip of one who has waited for count others. The same
// credentials again, as of a client with an old password, do not count again.
func (p *penalties) failed(ip netip.Addr, count int, user, password string) {
	var h maphash.Hash
	h.SetSeed(p.seed)
	h.WriteString(user)
	h.WriteByte(0)
	h.WriteString(password)
	sum := h.Sum64()

	p.mu.Lock()
	defer p.mu.Unlock()
	pen := p.touch(ip)
	count = min(count+1, maxPenalty)
	if i := slices.Index(pen.tried, sum); i >= 0 && password != "" {
		pen.Count = count - 1
		return
	}
	pen.Count, pen.Last = count, pen.Updated
	if password != "" {
		pen.tried = slices.Insert(pen.tried, 0, sum)
		pen.tried = pen.tried[:min(len(pen.tried), maxTried)]
	}
}

// reset forgives ip its failures after a success.
func (p *penalties) reset(ip netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pen := p.touch(ip)
	pen.Count, pen.Last = 0, pen.Updated
}

// touch returns the entry of ip, as of now. It makes one, in place of the oldest if
// there are too many.
func (p *penalties) touch(ip netip.Addr) *penalty {
	p.expire()
	net := penaltyNet(ip)
	e := p.addrs[net]
	if e == nil {
		if len(p.addrs) >= maxPenalized {
			p.drop(p.order.Back())
		}
		e = p.order.PushFront(&penalty{standing: standing{Net: net}})
		p.addrs[net] = e
	}
	p.order.MoveToFront(e)
	pen := e.Value.(*penalty)
	pen.Updated = p.now()
	return pen
}

func (p *penalties) drop(e *list.Element) {
	delete(p.addrs, e.Value.(*penalty).Net)
	p.order.Remove(e)
}

// expire drops what is old; it looks at no more than that.
func (p *penalties) expire() {
	old := p.now().Add(-penaltyExpiry)
	for e := p.order.Back(); e != nil && e.Value.(*penalty).Updated.Before(old); e = p.order.Back() {
		p.drop(e)
	}
}

// all returns the entries, the oldest first.
func (p *penalties) all() []standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
	list := make([]standing, 0, p.order.Len())
	for e := p.order.Back(); e != nil; e = e.Prev() {
		list = append(list, e.Value.(*penalty).standing)
	}
	return list
}
