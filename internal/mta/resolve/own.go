package resolve

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// OwnAddr reports whether addr is one this host receives mail on, as
// inet_interfaces says, or one of a proxy in front of it.
func (r *Resolver) OwnAddr(addr netip.Addr) bool { return r.allOwn[addr.Unmap()] }

// ownAddresses lists the addresses that inet_interfaces and proxy_interfaces
// stand for.
func ownAddresses(inet, proxy string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, item := range postfix.SplitList(inet) {
		addrs, err := interfaceAddrs(item)
		if err != nil {
			return nil, fmt.Errorf("config variable inet_interfaces: %w", err)
		}
		all = append(all, addrs...)
	}
	for _, item := range postfix.SplitList(proxy) {
		addrs, err := hostAddrs(item)
		if err != nil {
			return nil, fmt.Errorf("config variable proxy_interfaces: %w", err)
		}
		all = append(all, addrs...)
	}
	return all, nil
}

func interfaceAddrs(item string) ([]netip.Addr, error) {
	if item != "all" && item != "loopback-only" {
		return hostAddrs(item)
	}
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, n := range nets {
		ipnet, ok := n.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(ipnet.IP)
		if ok && (item == "all" || addr.IsLoopback()) {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs, nil
}

// nameTimeout bounds the lookup of a name in inet_interfaces.
const nameTimeout = 5 * time.Second

func hostAddrs(item string) ([]netip.Addr, error) {
	host := strings.TrimSuffix(strings.TrimPrefix(item, "["), "]")
	// The address of "192.0.2.1/24" is what can only be meant here.
	host, _, _ = strings.Cut(host, "/")
	host = strings.TrimSuffix(host, "]")
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	if strings.EqualFold(host, "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), nameTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("host not found: %s", item)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}
