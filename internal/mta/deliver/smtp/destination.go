package smtp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

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
}

// String is the server as it stands in "host H said".
func (s *server) String() string {
	if s.network == "unix" {
		return s.host + "[" + s.address + "]"
	}
	return s.host + "[" + s.ip.String() + "]"
}

// relay is the server as it stands in "relay=".
func (s *server) relay() string {
	if s.network == "unix" {
		return s.String()
	}
	return s.String() + ":" + s.port
}

// servers returns the servers of a next hop in the order in which to try them,
// or why there are none. A next hop may be a list of destinations.
func (a *Agent) servers(ctx context.Context, nexthop string) ([]server, *deliver.Status) {
	var all []server
	var failed *deliver.Status
	for dest := range strings.FieldsFuncSeq(nexthop, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		list, status := a.destination(ctx, dest)
		if status != nil {
			if failed == nil || status.Action == deliver.Deferred {
				failed = status
			}
			continue
		}
		all = append(all, list...)
	}
	if a.set.MXAddressLimit > 0 && len(all) > a.set.MXAddressLimit {
		all = all[:a.set.MXAddressLimit]
	}
	if len(all) > 0 {
		return all, nil
	}
	if failed == nil {
		s := noServer
		failed = &s
	}
	return nil, failed
}

// destination returns the servers of one destination:
// "domain", "domain:port", "[host]", "[host]:port", "inet:..." or "unix:path".
func (a *Agent) destination(ctx context.Context, dest string) ([]server, *deliver.Status) {
	if path, ok := strings.CutPrefix(dest, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			path = a.core.QueueDirectory + "/" + path
		}
		return []server{{network: "unix", address: path, host: a.core.Myhostname}}, nil
	}
	dest = strings.TrimPrefix(dest, "inet:")
	host, port, direct := splitDestination(dest)
	if port == "" {
		port = a.set.TCPPort
	}
	port = a.portNumber(port)
	if ip, ok := parseIP(host); ok {
		return []server{newServer(ip.String(), ip, port, 0)}, nil
	}
	if direct || a.protocol == LMTP || a.core.DisableDNSLookups {
		return a.hostServers(ctx, host, port, 0)
	}
	return a.domainServers(ctx, host, port)
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
func (a *Agent) portNumber(port string) string {
	for entry := range strings.FieldsFuncSeq(a.core.KnownTCPPorts, func(r rune) bool { return r == ',' || r == ' ' }) {
		names := strings.Split(entry, "=")
		if slices.Contains(names[:len(names)-1], port) {
			return names[len(names)-1]
		}
	}
	if n, err := net.LookupPort("tcp", port); err == nil {
		return fmt.Sprint(n)
	}
	return port
}

func newServer(host string, ip netip.Addr, port string, pref uint16) server {
	return server{network: "tcp", address: net.JoinHostPort(ip.String(), port), host: host, ip: ip, port: port, pref: pref}
}

// hostServers returns the addresses of a host.
func (a *Agent) hostServers(ctx context.Context, host, port string, pref uint16) ([]server, *deliver.Status) {
	lookup := a.resolver.Addrs
	if strings.Contains(a.set.HostLookup, "native") || a.core.DisableDNSLookups {
		lookup = a.resolver.NativeAddrs
	}
	answer, err := lookup(ctx, host, a.family())
	if err != nil {
		return nil, lookupFailed(host, "A", err)
	}
	list := make([]server, 0, len(answer.Records))
	for _, ip := range answer.Records {
		list = append(list, newServer(host, ip.Unmap(), port, pref))
	}
	return list, nil
}

// family is the address families that inet_protocols allows.
func (a *Agent) family() dns.Family {
	switch strings.TrimSpace(a.core.InetProtocols) {
	case "ipv4":
		return dns.IPv4
	case "ipv6":
		return dns.IPv6
	}
	return dns.Any
}

// domainServers returns the servers of a domain by its MX records, or its own
// addresses where it has none (RFC 5321 5.1).
func (a *Agent) domainServers(ctx context.Context, domain, port string) ([]server, *deliver.Status) {
	answer, err := a.resolver.MX(ctx, domain)
	if errors.Is(err, dns.ErrNoData) {
		return a.hostServers(ctx, domain, port, 0)
	}
	if err != nil {
		return nil, lookupFailed(domain, "MX", err)
	}
	if len(answer.Records) == 1 && answer.Records[0].Host == "" {
		return nil, &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 1, 0}, Relay: "none",
			Text: "Domain " + domain + " does not accept mail (nullMX)"}
	}
	list, status := a.exchangers(ctx, answer.Records, port)
	if len(list) == 0 {
		if status == nil || status.Action == deliver.Bounced {
			a.log.Warningf("no MX host for %s has a valid address record", domain)
		}
		return nil, status
	}
	sortServers(list, a.set.RandomizeAddrs, a.set.AddressPreference)
	return a.dropSelf(list, domain, port)
}

// exchangers looks the hosts of MX records up.
func (a *Agent) exchangers(ctx context.Context, records []dns.MX, port string) ([]server, *deliver.Status) {
	var list []server
	var failed *deliver.Status
	for _, mx := range records {
		addrs, status := a.hostServers(ctx, mx.Host, port, mx.Pref)
		// A host that cannot be looked up now must not let the mail bounce.
		if status != nil && (failed == nil || status.Action == deliver.Deferred) {
			failed = status
		}
		list = append(list, addrs...)
	}
	return list, failed
}

// sortServers orders by preference; equal ones at random, the preferred address
// family first.
func sortServers(list []server, randomize bool, family string) {
	if randomize {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
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

// dropSelf removes this system and all servers that are no better: mail must
// not travel in a circle (RFC 5321 5.1).
func (a *Agent) dropSelf(list []server, domain, port string) ([]server, *deliver.Status) {
	if port != "25" {
		return list, nil
	}
	i := slices.IndexFunc(list, func(s server) bool {
		return slices.Contains(a.own, s.ip) || strings.EqualFold(s.host, a.core.Myhostname)
	})
	if i < 0 {
		return list, nil
	}
	self := list[i].pref
	list = slices.DeleteFunc(list, func(s server) bool { return s.pref >= self })
	if len(list) == 0 {
		return nil, &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 4, 6}, Relay: "none",
			Text: "mail for " + domain + " loops back to myself"}
	}
	return list, nil
}

// lookupFailed is the status after a DNS lookup failed, in Postfix's words.
func lookupFailed(name, kind string, err error) *deliver.Status {
	s := &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 4, 4}, Relay: "none"}
	reason := "Host not found"
	switch {
	case errors.Is(err, dns.ErrNoData):
		reason = "Host found but no data record of requested type"
	case !errors.Is(err, dns.ErrNXDomain):
		s.Action, s.Enhanced, s.Dead = deliver.Deferred, wire.Enhanced{4, 4, 3}, true
		reason = "Host not found, try again"
	}
	s.Text = fmt.Sprintf("Host or domain name not found. Name service error for name=%s type=%s: %s", name, kind, reason)
	return s
}
