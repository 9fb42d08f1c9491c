package smtp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// A server is one address to try.
type server struct {
	network string // "tcp" or "unix"
	address string // "192.0.2.1:25" or a path
	host    string // name for log lines and certificates
	ip      netip.Addr
	port    string
	pref    uint16
	best    bool // it is one of those with the best preference

	// What is known of the names that led here, for DANE (RFC 7672).
	domain string // whose MX record names the host; empty for a host named by the next hop itself
	secure bool   // the address was validated with DNSSEC
	badMX  bool   // the MX record was not
	alias  string // the name at the end of the host's CNAMEs

	name  string // as it stands in "host H said"
	relay string // as it stands in "relay="
}

func newServer(host string, ip netip.Addr, port string, pref uint16) server {
	name := host + "[" + ip.String() + "]"
	return server{
		network: "tcp", address: net.JoinHostPort(ip.String(), port), host: host, ip: ip, port: port, pref: pref,
		name: name, relay: name + ":" + port,
	}
}

func newSocket(host, path string) server {
	name := host + "[" + path + "]"
	return server{network: "unix", address: path, host: host, name: name, relay: name}
}

// smtpPort is where mail servers expect mail servers, so where mail could
// travel in a circle.
const smtpPort = "25"

// destination returns the servers of one destination in the order in which to try
// them, or why there are none: "domain", "domain:port", "[host]",
// "[host]:port", "inet:..." or "unix:path".
func (a *Agent) destination(ctx context.Context, dest string) ([]server, *deliver.Status) {
	if path, ok := strings.CutPrefix(dest, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			path = a.core.QueueDirectory + "/" + path
		}
		return []server{newSocket(a.core.Myhostname, path)}, nil
	}
	dest = strings.TrimPrefix(dest, "inet:")
	host, port, direct := splitDestination(dest)
	if port == "" {
		port = a.set.TCPPort
	}
	port, ok := a.portNumber(port)
	if !ok {
		a.log.Warningf("unknown service in next-hop destination: %s", dest)
		return nil, &deliver.Status{Action: deliver.Deferred, Enhanced: wire.Enhanced{4, 3, 5}, Relay: "none", Dead: true,
			Text: "unknown service in next-hop destination " + dest}
	}
	list, failed := a.lookup(ctx, host, port, direct)
	if failed != nil {
		return nil, failed
	}
	for i := range list {
		list[i].best = list[i].pref == list[0].pref
	}
	return a.balance(list), nil
}

func (a *Agent) lookup(ctx context.Context, host, port string, direct bool) ([]server, *deliver.Status) {
	if ip, ok := parseIP(host); ok {
		return a.dropSelf([]server{newServer(strings.TrimPrefix(host, "IPv6:"), ip, port, 0)}, host, port)
	}
	if !direct && a.protocol == SMTP && !a.noDNS() {
		return a.domainServers(ctx, host, port)
	}
	list, failed := a.hostServers(ctx, host, port, 0)
	if failed != nil {
		return nil, failed
	}
	a.sort(list)
	return a.dropSelf(list, host, port)
}

// splitDestination takes "[host]:port" apart; direct says that brackets forbid
// the MX lookup.
func splitDestination(dest string) (host, port string, direct bool) {
	if strings.HasPrefix(dest, "[") {
		if end := strings.IndexByte(dest, ']'); end > 0 {
			return dest[1:end], strings.TrimPrefix(dest[end+1:], ":"), true
		}
	}
	if i := strings.LastIndexByte(dest, ':'); i >= 0 && strings.IndexByte(dest, ':') == i {
		return dest[:i], dest[i+1:], false
	}
	return dest, "", false
}

func parseIP(host string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimPrefix(host, "IPv6:"), "ipv6:"))
	return ip.Unmap(), err == nil
}

// portNumber turns a service name into a number, by known_tcp_ports first.
func (a *Agent) portNumber(port string) (string, bool) {
	for _, entry := range postfix.SplitList(a.core.KnownTCPPorts) {
		names := strings.Split(entry, "=")
		if slices.Contains(names[:len(names)-1], port) {
			return names[len(names)-1], true
		}
	}
	n, err := net.LookupPort("tcp", port)
	return strconv.Itoa(n), err == nil && n > 0
}

// hostServers returns the addresses of a host.
func (a *Agent) hostServers(ctx context.Context, host, port string, pref uint16) ([]server, *deliver.Status) {
	answer, err := a.addresses(ctx, host)
	if err != nil {
		return nil, a.lookupFailed(host, "A", err)
	}
	list := make([]server, 0, len(answer.Records))
	for _, ip := range answer.Records {
		srv := newServer(host, ip.Unmap(), port, pref)
		srv.secure, srv.alias = answer.Secure, answer.Name
		list = append(list, srv)
	}
	return list, nil
}

// addresses looks a host up where smtp_host_lookup says.
func (a *Agent) addresses(ctx context.Context, host string) (dns.Answer[netip.Addr], error) {
	if a.noDNS() || !strings.Contains(a.set.HostLookup, "dns") {
		return a.resolver.NativeAddrs(ctx, host, a.family())
	}
	answer, err := a.resolver.Addrs(ctx, host, a.family())
	if err != nil && !dns.Temporary(err) && strings.Contains(a.set.HostLookup, "native") {
		return a.resolver.NativeAddrs(ctx, host, a.family())
	}
	return answer, err
}

// noDNS tells whether names are only looked up as the system does it.
func (a *Agent) noDNS() bool { return a.core.DisableDNSLookups || a.set.DNSSupport == "disabled" }

// family is the address families that inet_protocols allows.
func (a *Agent) family() dns.Family {
	list := postfix.SplitList(a.core.InetProtocols)
	four, six := slices.Contains(list, "ipv4"), slices.Contains(list, "ipv6")
	switch {
	case slices.Contains(list, "all") || four == six:
		return dns.Any
	case four:
		return dns.IPv4
	}
	return dns.IPv6
}

// domainServers returns the servers of a domain by its MX records, or its own
// addresses where it has none (RFC 5321 5.1).
func (a *Agent) domainServers(ctx context.Context, domain, port string) ([]server, *deliver.Status) {
	answer, err := a.resolver.MX(ctx, domain)
	if errors.Is(err, dns.ErrNoData) {
		list, failed := a.hostServers(ctx, domain, port, 0)
		if failed != nil {
			return nil, failed
		}
		a.sort(list)
		return a.dropSelf(list, domain, port)
	}
	if err != nil {
		return nil, a.lookupFailed(domain, "MX", err)
	}
	if len(answer.Records) == 1 && answer.Records[0].Host == "" { // RFC 7505
		return nil, &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 1, 0}, Relay: "none",
			Text: "Domain " + domain + " does not accept mail (nullMX)"}
	}
	list, failed := a.exchangers(ctx, answer.Records, port)
	for i := range list {
		list[i].domain, list[i].badMX = domain, !answer.Secure
	}
	if len(list) == 0 {
		a.log.Warningf("no MX host for %s has a valid address record", domain)
		if failed.Action == deliver.Bounced && a.set.DeferIfNoMX {
			failed.Action, failed.Enhanced[0], failed.Dead = deliver.Deferred, 4, true
		}
		return nil, failed
	}
	a.sort(list)
	return a.dropSelf(list, domain, port)
}

// maxExchangers bounds the hosts looked up for one domain.
const maxExchangers = 100

// exchangers looks the hosts of MX records up.
func (a *Agent) exchangers(ctx context.Context, records []dns.MX, port string) ([]server, *deliver.Status) {
	var list []server
	var failed *deliver.Status
	for _, mx := range records[:min(len(records), maxExchangers)] {
		addrs, status := a.hostServers(ctx, mx.Host, port, mx.Pref)
		// A host that cannot be looked up now must not let the mail bounce.
		if status != nil && (failed == nil || status.Action == deliver.Deferred) {
			failed = status
		}
		list = append(list, addrs...)
	}
	return list, failed
}

// sort orders by preference; equal ones at random, the preferred address family first.
func (a *Agent) sort(list []server) {
	if a.set.RandomizeAddrs {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	family := a.set.AddressPreference
	slices.SortStableFunc(list, func(x, y server) int {
		if x.pref != y.pref {
			return int(x.pref) - int(y.pref)
		}
		if family == "any" || x.ip.Is4() == y.ip.Is4() {
			return 0
		}
		if x.ip.Is4() == (family == "ipv4") {
			return -1
		}
		return 1
	})
}

// balance makes room for the second address family among the addresses that
// smtp_mx_address_limit lets be tried: one family may be out of reach.
func (a *Agent) balance(list []server) []server {
	limit := a.set.MXAddressLimit
	if limit <= 1 || len(list) <= limit || !a.set.BalanceProtocols {
		return list
	}
	four := 0
	for i := range list {
		if list[i].ip.Is4() {
			four++
		}
	}
	six := len(list) - four
	room := map[bool]int{true: limit - min(six, limit/2), false: limit - min(four, limit/2)}
	return slices.DeleteFunc(list, func(s server) bool {
		room[s.ip.Is4()]--
		return room[s.ip.Is4()] < 0
	})
}

// loopStatus is the code of mail that would come back.
var loopStatus = wire.Enhanced{5, 4, 6}

// dropSelf removes this system and all servers that are no better: mail must
// not travel in a circle (RFC 5321 5.1).
func (a *Agent) dropSelf(list []server, domain, port string) ([]server, *deliver.Status) {
	if port != smtpPort {
		return list, nil
	}
	i := slices.IndexFunc(list, func(s server) bool { return slices.Contains(a.own, s.ip) })
	if i < 0 {
		return list, nil
	}
	self := list[i].pref
	list = slices.DeleteFunc(list, func(s server) bool { return s.pref >= self })
	if len(list) == 0 {
		return nil, &deliver.Status{Action: deliver.Bounced, Enhanced: loopStatus, Relay: "none", Text: loops(domain)}
	}
	return list, nil
}

func loops(domain string) string { return "mail for " + domain + " loops back to myself" }

// lookupFailed is the status after a DNS lookup failed, in Postfix's words.
func (a *Agent) lookupFailed(name, kind string, err error) *deliver.Status {
	if kind == "A" && a.family() != dns.IPv4 {
		kind = "AAAA" // which was asked for last
	}
	reason := dns.ErrTryAgain
	for _, known := range []error{dns.ErrNXDomain, dns.ErrNoData, dns.ErrMalformed} {
		if errors.Is(err, known) {
			reason = known
		}
	}
	s := &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 4, 4}, Relay: "none",
		Text: "Host or domain name not found. Name service error for name=" + name + " type=" + kind + ": " + reason.Error()}
	if dns.Temporary(err) {
		s.Action, s.Enhanced, s.Dead = deliver.Deferred, wire.Enhanced{4, 4, 3}, true
	}
	return s
}
