package dovecot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A cond is the condition of a layer, with those of the blocks around it. Its
// zero value matches everything.
type cond struct {
	service    string // protocol; "!name" matches all others
	hasService bool
	local      network
	remote     network
	localName  string // one or more names separated by blanks
}

// A network is the argument of local or remote: one prefix, or the addresses of a host name.
type network struct {
	text     string // for printing
	prefixes []netip.Prefix
}

func (n network) set() bool { return len(n.prefixes) > 0 }

func (n network) match(a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(n.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// bits is the prefix length; -1 for no network, which sorts last.
func (n network) bits() int {
	if !n.set() {
		return -1
	}
	return n.prefixes[0].Bits()
}

// covers reports whether every address of o is in n.
func (n network) covers(o network) bool {
	if !n.set() {
		return true
	}
	return o.set() && n.prefixes[0].Bits() <= o.prefixes[0].Bits() && n.prefixes[0].Contains(o.prefixes[0].Addr())
}

func (n network) equal(o network) bool { return slices.Equal(n.prefixes, o.prefixes) }

func (c cond) equal(o cond) bool {
	return c.hasService == o.hasService && c.service == o.service && strings.EqualFold(c.localName, o.localName) &&
		c.local.equal(o.local) && c.remote.equal(o.remote)
}

func (c cond) match(f Filter) bool {
	if c.hasService {
		if f.Service == "" {
			return false
		}
		not, negated := strings.CutPrefix(c.service, "!")
		if negated == (not == f.Service) {
			return false
		}
	}
	if c.local.set() && !(f.Local.IsValid() && c.local.match(f.Local)) {
		return false
	}
	if c.remote.set() && !(f.Remote.IsValid() && c.remote.match(f.Remote)) {
		return false
	}
	return c.localName == "" || matchNames(c.localName, f.LocalName)
}

// matchNames matches a TLS server name with the argument of local_name. A "*"
// label stands for exactly one label.
func matchNames(patterns, name string) bool {
	if !strings.Contains(patterns, " ") {
		return matchName(patterns, name)
	}
	for p := range strings.SplitSeq(patterns, " ") {
		if matchName(p, name) {
			return true
		}
	}
	return false
}

func matchName(pattern, name string) bool {
	if rest, ok := strings.CutPrefix(pattern, "*."); ok {
		_, parent, ok := strings.Cut(name, ".")
		return ok && strings.EqualFold(parent, rest)
	}
	return name != "" && len(pattern) == len(name) && strings.EqualFold(pattern, name)
}

// filter is a lookup by the condition itself, for what applies to all that match it.
func (c cond) filter() Filter {
	f := Filter{Service: c.service, LocalName: c.localName}
	if c.local.set() {
		f.Local = c.local.prefixes[0].Addr()
	}
	if c.remote.set() {
		f.Remote = c.remote.prefixes[0].Addr()
	}
	return f
}

// wider reports whether c has no condition that o lacks, and no longer prefix.
func (c cond) wider(o cond) bool {
	return c.local.bits() <= o.local.bits() && c.remote.bits() <= o.remote.bits() &&
		(c.localName == "" || o.localName != "") && (!c.hasService || o.hasService)
}

// compareCond sorts the more specific condition first.
func compareCond(a, b cond) int {
	if d := rank(b.localName != "") - rank(a.localName != ""); d != 0 {
		return d
	}
	if d := b.local.bits() - a.local.bits(); d != 0 {
		return d
	}
	if d := b.remote.bits() - a.remote.bits(); d != 0 {
		return d
	}
	return rank(b.hasService) - rank(a.hasService)
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// isFilter reports whether a section type is a filter.
func isFilter(key string) bool {
	return key == "protocol" || key == "local" || key == "remote" || key == "local_name"
}

// outside lists the filters that a block must not be inside of, because it is they
// that belong inside it.
var outside = map[string][]string{
	"local":      {"remote", "protocol", "local_name"},
	"local_name": {"remote", "protocol"},
	"remote":     {"protocol"},
}

// has reports whether the condition has a filter of type key.
func (c cond) has(key string) bool {
	switch key {
	case "protocol":
		return c.hasService
	case "local":
		return c.local.set()
	case "remote":
		return c.remote.set()
	}
	return c.localName != ""
}

// scope is the kinds of conditions there are.
func (c cond) scope() Scope {
	var s Scope
	for key, bit := range map[string]Scope{"protocol": ScopeProtocol, "local": ScopeLocal, "remote": ScopeRemote, "local_name": ScopeLocalName} {
		if c.has(key) {
			s |= bit
		}
	}
	return s
}

// nest returns the condition of a filter block inside one with condition c.
func (c cond) nest(key, arg string) (cond, error) {
	for _, outer := range outside[key] {
		if c.has(outer) {
			return c, fmt.Errorf("%s { %s { .. } } not allowed (use %s { %s { .. } } instead)", outer, key, key, outer)
		}
	}
	var err error
	switch key {
	case "protocol":
		if c.hasService {
			return c, errors.New("Nested protocol { protocol { .. } } block not allowed")
		}
		c.service, c.hasService = arg, true
	case "local_name":
		c.localName = arg
	case "local":
		c.local, err = c.local.nest(key, arg)
	case "remote":
		c.remote, err = c.remote.nest(key, arg)
	}
	return c, err
}

func (n network) nest(key, arg string) (network, error) {
	inner, err := parseNetwork(arg)
	if err == nil && inner.set() && !n.covers(inner) {
		err = fmt.Errorf("%s net1 { %s net2 { .. } } requires net2 to be inside net1", key, key)
	}
	return inner, err
}

// lookupTimeout bounds the name lookup of a filter with a host name.
const lookupTimeout = 10 * time.Second

// parseNetwork reads an address, address/bits or host name. Zero bits are no
// condition.
func parseNetwork(s string) (network, error) {
	host, mask, masked := strings.Cut(s, "/")
	addrs, err := resolve(host)
	if err != nil {
		return network{}, err
	}
	n := network{text: addrs[0].String()}
	for _, a := range addrs {
		n.prefixes = append(n.prefixes, netip.PrefixFrom(a, a.BitLen()))
	}
	if !masked {
		return n, nil
	}
	bits, err := strconv.ParseUint(mask, 10, 8)
	if err != nil || int(bits) > addrs[0].BitLen() {
		return n, fmt.Errorf("Invalid network mask: %s", mask)
	}
	if bits == 0 {
		return network{}, nil
	}
	if int(bits) < addrs[0].BitLen() {
		n.text += "/" + strconv.FormatUint(bits, 10)
	}
	n.prefixes[0] = netip.PrefixFrom(addrs[0], int(bits)).Masked()
	return n, nil
}

// ParseNetwork reads an address, network or host name as in a filter block. Of a network's
// address no bits are lost.
func ParseNetwork(s string) (netip.Prefix, error) {
	n, err := parseNetwork(s)
	if err != nil || !n.set() {
		return netip.Prefix{}, err
	}
	return n.prefixes[0], nil
}

func resolve(host string) ([]netip.Addr, error) {
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") && strings.Contains(host, ":") {
		bare = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return nil, fmt.Errorf("gethostbyname(%s) failed: Name or service not known", host)
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}
