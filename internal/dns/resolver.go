package dns

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Options of a [Resolver]. The zero value reads the system's files.
type Options struct {
	ResolvConf string        // path; empty: $DOVETAIL_RESOLV_CONF or /etc/resolv.conf
	HostsFile  string        // path; empty: /etc/hosts
	Timeout    time.Duration // of one attempt; 0: what resolv.conf says
}

// A Resolver looks names up. It may be used concurrently.
type Resolver struct {
	conf    file[config]
	hosts   file[hosts]
	timeout time.Duration
	cache   cache
}

// New returns a resolver of the system's name servers. Its files are read at
// once, and again when they change.
func New(opt Options) (*Resolver, error) {
	r := &Resolver{timeout: opt.Timeout}
	r.conf.path = cmp.Or(opt.ResolvConf, os.Getenv("DOVETAIL_RESOLV_CONF"), "/etc/resolv.conf")
	r.conf.parse = parseConfig
	r.hosts.path = cmp.Or(opt.HostsFile, "/etc/hosts")
	r.hosts.parse = parseHosts
	if _, err := r.conf.get(); err != nil {
		return nil, err
	}
	return r, nil
}

// An Answer is what a lookup found, and how far it can be trusted.
type Answer[T any] struct {
	Records []T
	Secure  bool          // the name server has validated it with DNSSEC
	TTL     time.Duration // least of all records
	Name    string        // the name at the end of CNAMEs, without final dot
}

// An MX is one mail exchanger of a domain.
type MX struct {
	Host string // without final dot; empty for "." (RFC 7505: no mail)
	Pref uint16
}

// MX returns the mail exchangers of a domain, by preference.
func (r *Resolver) MX(ctx context.Context, name string) (Answer[MX], error) {
	a, err := lookup(ctx, r, name, dns.TypeMX, func(rr *dns.MX) MX { return MX{Host: trimDot(rr.Mx), Pref: rr.Preference} })
	slices.SortStableFunc(a.Records, func(x, y MX) int { return cmp.Compare(x.Pref, y.Pref) })
	return a, err
}

// NS returns the names of a domain's name servers, without final dots.
func (r *Resolver) NS(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, dns.TypeNS, func(rr *dns.NS) string { return trimDot(rr.Ns) })
}

// An SRV is one SRV record (RFC 2782).
type SRV struct {
	Target                 string // without final dot; empty for "."
	Port, Priority, Weight uint16
}

// SRV returns the SRV records of a name such as _imap._tcp.example.com, by
// priority.
func (r *Resolver) SRV(ctx context.Context, name string) (Answer[SRV], error) {
	a, err := lookup(ctx, r, name, dns.TypeSRV, func(rr *dns.SRV) SRV {
		return SRV{Target: trimDot(rr.Target), Port: rr.Port, Priority: rr.Priority, Weight: rr.Weight}
	})
	slices.SortStableFunc(a.Records, func(x, y SRV) int { return cmp.Compare(x.Priority, y.Priority) })
	return a, err
}

// TXT returns the TXT records of a name, the strings of each joined.
func (r *Resolver) TXT(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, dns.TypeTXT, func(rr *dns.TXT) string { return strings.Join(rr.Txt, "") })
}

// A TLSA is one TLSA record (RFC 6698).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          string // hexadecimal, lower case
}

// TLSA returns the TLSA records of a name such as _25._tcp.mx.example.com.
func (r *Resolver) TLSA(ctx context.Context, name string) (Answer[TLSA], error) {
	return lookup(ctx, r, name, dns.TypeTLSA, func(rr *dns.TLSA) TLSA {
		return TLSA{Usage: rr.Usage, Selector: rr.Selector, MatchingType: rr.MatchingType, Data: strings.ToLower(rr.Certificate)}
	})
}

// KnownType tells whether there are DNS records of a type, "ns" for example.
func KnownType(kind string) bool { return dns.StringToType[strings.ToUpper(kind)] != 0 }

// Validated tells whether the name server validates what it says of the records of some type
// with DNSSEC, that there are none included.
func (r *Resolver) Validated(ctx context.Context, name, kind string) (bool, error) {
	msg, err := r.ask(ctx, strings.ToLower(dns.Fqdn(name)), dns.StringToType[strings.ToUpper(kind)])
	if err != nil {
		return false, &Error{Name: name, Type: strings.ToUpper(kind), Err: ErrTryAgain, More: err}
	}
	return msg.AuthenticatedData, nil
}

// PTR returns the names of an address from the DNS alone.
func (r *Resolver) PTR(ctx context.Context, ip netip.Addr) (Answer[string], error) {
	name, err := dns.ReverseAddr(ip.Unmap().WithZone("").String())
	if err != nil {
		return Answer[string]{}, &Error{Name: ip.String(), Type: "PTR", Err: ErrNXDomain, More: err}
	}
	return lookup(ctx, r, name, dns.TypePTR, func(rr *dns.PTR) string { return trimDot(rr.Ptr) })
}

// A Family says which addresses are wanted.
type Family uint8

// Families of addresses.
const (
	Any Family = iota
	IPv4
	IPv6
)

// Addrs returns the addresses of a host from the DNS alone, IPv6 ones first.
// With [Any], one family is enough for success; without any address, a
// temporary error of either is the answer.
func (r *Resolver) Addrs(ctx context.Context, name string, family Family) (Answer[netip.Addr], error) {
	switch family {
	case IPv4:
		return r.addrs4(ctx, name)
	case IPv6:
		return r.addrs6(ctx, name)
	}
	type result struct {
		a   Answer[netip.Addr]
		err error
	}
	other := make(chan result, 1)
	go func() {
		a, err := r.addrs6(ctx, name)
		other <- result{a, err}
	}()
	four, err4 := r.addrs4(ctx, name)
	six := <-other
	switch {
	case err4 != nil && six.err != nil:
		if Temporary(six.err) {
			return six.a, six.err
		}
		return four, err4
	case err4 != nil:
		return six.a, nil
	case six.err != nil:
		return four, nil
	}
	return Answer[netip.Addr]{
		Records: append(slices.Clip(six.a.Records), four.Records...),
		Secure:  six.a.Secure && four.Secure,
		TTL:     min(six.a.TTL, four.TTL),
		Name:    four.Name,
	}, nil
}

func (r *Resolver) addrs4(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, r, name, dns.TypeA, func(rr *dns.A) netip.Addr {
		a, _ := netip.AddrFromSlice(rr.A.To4())
		return a
	})
}

func (r *Resolver) addrs6(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, r, name, dns.TypeAAAA, func(rr *dns.AAAA) netip.Addr {
		a, _ := netip.AddrFromSlice(rr.AAAA.To16())
		return a
	})
}

// NativeAddrs is Addrs with /etc/hosts before the DNS, as
// smtp_host_lookup=native asks.
func (r *Resolver) NativeAddrs(ctx context.Context, name string, family Family) (Answer[netip.Addr], error) {
	if h, err := r.hosts.get(); err == nil {
		if addrs := h.addrs(name, family); len(addrs) > 0 {
			return Answer[netip.Addr]{Records: addrs, Name: trimDot(name)}, nil
		}
	}
	return r.Addrs(ctx, name, family)
}

// NativePTR is PTR with /etc/hosts before the DNS.
func (r *Resolver) NativePTR(ctx context.Context, ip netip.Addr) (Answer[string], error) {
	if h, err := r.hosts.get(); err == nil {
		if name := h.names[ip.Unmap()]; name != "" {
			return Answer[string]{Records: []string{name}, Name: name}, nil
		}
	}
	return r.PTR(ctx, ip)
}

func trimDot(name string) string { return strings.TrimSuffix(name, ".") }

// lookup asks for the records of one type.
func lookup[RR dns.RR, T any](ctx context.Context, r *Resolver, name string, qtype uint16, value func(RR) T) (Answer[T], error) {
	a := Answer[T]{Name: trimDot(name)}
	fqdn := strings.ToLower(dns.Fqdn(name))
	if _, ok := dns.IsDomainName(fqdn); !ok || strings.Contains(fqdn, "..") || len(fqdn) > 255 {
		return a, &Error{Name: name, Type: dns.TypeToString[qtype], Err: ErrNXDomain}
	}
	secure, ttl := true, maxTTL
	owner := fqdn
	for range maxAliases { // a name server may leave it to us to follow CNAMEs
		reply, err := r.query(ctx, owner, qtype)
		if err != nil {
			err.Name, err.Type = trimDot(owner), dns.TypeToString[qtype]
			return a, err
		}
		secure, ttl = secure && reply.secure, min(ttl, reply.ttl)
		asked := owner
		owner = follow(reply.records, owner)
		for _, rr := range reply.records {
			if v, ok := rr.(RR); ok && strings.EqualFold(rr.Header().Name, owner) {
				a.Records = append(a.Records, value(v))
			}
		}
		if len(a.Records) > 0 {
			a.Secure, a.TTL, a.Name = secure, ttl, trimDot(owner)
			return a, nil
		}
		if owner == asked && !isAlias(reply.records, owner) {
			return a, &Error{Name: trimDot(owner), Type: dns.TypeToString[qtype], Err: ErrNoData}
		}
	}
	return a, &Error{Name: a.Name, Type: dns.TypeToString[qtype], Err: ErrLoop}
}

// maxAliases is how many answers are asked for to find the end of CNAMEs.
const maxAliases = 10

// follow returns the name at the end of the CNAMEs of an answer, which come before what they lead to.
func follow(records []dns.RR, owner string) string {
	for _, rr := range records {
		if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, owner) {
			owner = strings.ToLower(c.Target)
		}
	}
	return owner
}

func isAlias(records []dns.RR, owner string) bool {
	return slices.ContainsFunc(records, func(rr dns.RR) bool {
		c, ok := rr.(*dns.CNAME)
		return ok && strings.EqualFold(c.Hdr.Name, owner)
	})
}
