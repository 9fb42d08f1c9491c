package postfix

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// lookupTime bounds looking up a host name in inet_interfaces.
const lookupTime = 30 * time.Second

// ownInterfaces returns the addresses, each with its network, that inet_interfaces and
// inet_protocols select. The error is Postfix's fatal one.
func (m *Main) ownInterfaces() ([]netip.Prefix, error) {
	protocols, _, err := m.Expand("inet_protocols")
	if err != nil {
		return nil, err
	}
	if err := checkProtocols(protocols); err != nil {
		return nil, err
	}
	wanted, _, err := m.Expand("inet_interfaces")
	if err != nil {
		return nil, err
	}
	allowed := func(a netip.Addr) bool {
		family := "ipv4"
		if a.Is6() {
			family = "ipv6"
		}
		list := SplitList(protocols)
		return slices.Contains(list, "all") || slices.Contains(list, family)
	}
	local := slices.DeleteFunc(slices.Clone(m.computed.interfaces()), func(p netip.Prefix) bool { return !allowed(p.Addr()) })
	switch wanted {
	case "all":
		return local, nil
	case "loopback-only":
		return slices.DeleteFunc(local, func(p netip.Prefix) bool { return !p.Addr().IsLoopback() }), nil
	}
	if len(SplitList(protocols)) == 0 {
		return nil, nil
	}
	return namedInterfaces(wanted, local, allowed)
}

// namedInterfaces returns those of the local interfaces that a list of host names and
// addresses names.
func namedInterfaces(wanted string, local []netip.Prefix, allowed func(netip.Addr) bool) ([]netip.Prefix, error) {
	var addrs []netip.Addr
	for _, host := range strings.FieldsFunc(wanted, func(r rune) bool { return strings.ContainsRune(" \t,", r) }) {
		found := slices.DeleteFunc(hostAddrs(host), func(a netip.Addr) bool { return !allowed(a) })
		if len(found) == 0 {
			return nil, fmt.Errorf("config variable inet_interfaces: host not found: %s", host)
		}
		addrs = append(addrs, found...)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	var own []netip.Prefix
	for _, a := range slices.Compact(addrs) {
		i := slices.IndexFunc(local, func(p netip.Prefix) bool { return p.Addr() == a })
		if i < 0 {
			return nil, fmt.Errorf("parameter inet_interfaces: no local interface found for %s", a)
		}
		own = append(own, local[i])
	}
	return own, nil
}

// hostAddrs returns the addresses of a host name or of an address, brackets around it or
// not.
func hostAddrs(host string) []netip.Addr {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i, a := range found {
		found[i] = a.Unmap()
	}
	return found
}

// localInterfaces lists the addresses of the system with their networks, IPv4 first.
func localInterfaces() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			addr, _ := netip.AddrFromSlice(n.IP)
			bits, _ := n.Mask.Size()
			out = append(out, netip.PrefixFrom(addr.Unmap(), bits))
		}
	}
	slices.SortStableFunc(out, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	return out
}
