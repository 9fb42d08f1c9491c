package auth

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestPenaltyGrowsAndExpires(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	p := newPenalties()
	p.now = func() time.Time { return now }
	ip := netip.MustParseAddr("192.0.2.1")
	for i, want := range []time.Duration{0, 4, 8, 15, 15, 15} {
		if got := penaltyWait(p.lookup(ip)); got != want*time.Second {
			t.Errorf("after %d failures: %v, want %v", i, got, want*time.Second)
		}
		p.failed(ip, p.lookup(ip), "alice", fmt.Sprint(i))
		p.failed(ip, p.lookup(ip), "alice", fmt.Sprint(i)) // a client that tries again by itself
	}
	if p.lookup(netip.MustParseAddr("192.0.2.2")) != 0 {
		t.Error("another address is penalized")
	}
	now = now.Add(maxPenaltyWait)
	if n := p.lookup(ip); n != 0 || len(p.all()) != 1 || p.all()[0].Count == 0 {
		t.Errorf("%d failures count after the longest wait, of %v", n, p.all())
	}
	now = now.Add(penaltyExpiry + time.Second)
	if n := p.lookup(ip); n != 0 || len(p.all()) != 0 {
		t.Errorf("%d failures left after the expiry", n)
	}
	p.failed(ip, 0, "alice", "x")
	p.reset(ip)
	if n := p.lookup(ip); n != 0 {
		t.Errorf("%d failures left after a success", n)
	}
}

func TestPenaltyOfNetworks(t *testing.T) {
	p := newPenalties()
	p.failed(netip.MustParseAddr("2001:db8:1:2::3"), 0, "a", "b")
	p.failed(netip.Addr{}, 0, "a", "b")
	p.failed(netip.MustParseAddr("::ffff:192.0.2.1"), 0, "a", "b")
	for text, want := range map[string]int{"2001:db8:1:ffff::1": 1, "2001:db8:2::1": 0, "192.0.2.1": 1} {
		if got := p.lookup(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
	if p.lookup(netip.Addr{}) != 1 {
		t.Error("clients without address share no penalty")
	}
}

func TestPenaltyIsBounded(t *testing.T) {
	p := newPenalties()
	for i := range maxPenalized + 100 {
		p.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 0, "a", "b")
	}
	if len(p.addrs) != maxPenalized || p.order.Len() != maxPenalized {
		t.Errorf("%d addresses, %d in order", len(p.addrs), p.order.Len())
	}
}
