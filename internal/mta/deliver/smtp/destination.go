package smtp

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
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

// smtpsPort is where TLS begins with the first byte.
const smtpsPort = "465"

// A route is the servers of a destination in the order in which to try them.
type route struct {
	servers []server
	final   bool // this system is one of the destination's: no fallback is tried
}

// destination returns the servers of one destination, or why there are none: "domain", "domain:port", "[host]",
// "[host]:port", "inet:..." or "unix:path".
func (a *Agent) destination(ctx context.Context, dest string) (route, *deliver.Status) {
	if path, ok := strings.CutPrefix(dest, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			path = a.core.QueueDirectory + "/" + path
		}
		return route{servers: []server{newSocket(a.core.Myhostname, path)}}, nil
	}
	dest = strings.TrimPrefix(dest, "inet:")
	host, service, direct := splitDestination(dest)
	if service == "" {
		service = a.set.TCPPort
	}
	port, ok := a.portNumber(service)
	if !ok {
		a.log.Warningf("unknown service in next-hop destination: %s", dest)
		return route{}, &deliver.Status{Action: deliver.Deferred, Enhanced: wire.Enhanced{4, 3, 5}, Relay: "none", Dead: true,
			Text: "unknown service in next-hop destination " + dest}
	}
	if port == smtpsPort && !a.set.TLSWrapper {
		a.log.Infof(`SMTPS wrappermode (TCP port 465) requires setting "%[1]stls_wrappermode = yes", and "%[1]stls_security_level = encrypt" (or stronger)`,
			a.protocol.prefix())
	}
	r, failed := a.lookup(ctx, wire.ASCIIDomain(host), service, port, direct)
	if failed != nil {
		return r, failed
	}
	if _, literal := parseIP(host); !literal && a.tls.dnssec() && slices.ContainsFunc(r.servers, func(s server) bool { return !s.secure }) {
		a.probeDNSSEC(ctx)
	}
	for i := range r.servers {
		r.servers[i].best = r.servers[i].pref == r.servers[0].pref
	}
	r.servers = a.balance(r.servers)
	return r, nil
}

// lookup finds the servers of a host or domain.
func (a *Agent) lookup(ctx context.Context, host, service, port string, direct bool) (route, *deliver.Status) {
	detect := port == smtpPort && a.protocol == SMTP
	if ip, ok := parseIP(host); ok {
		list := []server{newServer(strings.TrimPrefix(host, "IPv6:"), ip, port, 0)}
		if detect && a.meets(list) >= 0 {
			return route{final: true}, loopsBack(host)
		}
		return route{servers: list}, nil
	}
	if problem := wire.HostnameError(host); problem != "" {
		return route{}, &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 4, 4}, Relay: "none",
			Text: "Name service error for " + host + ": invalid host or domain name"}
	}
	if !direct && !a.noDNS() {
		// Whoever wants SRV records wants them of some services, by name.
		if srv, err := a.srv.Match(ctx, service); err == nil && srv {
			return a.srvServers(ctx, host, service, port)
		}
		if a.protocol == SMTP {
			return a.mxServers(ctx, host, port)
		}
	}
	return a.hostOnly(ctx, host, port, detect)
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

// meets finds the first server that is this system, or -1.
func (a *Agent) meets(list []server) int {
	return slices.IndexFunc(list, func(s server) bool { return slices.Contains(a.own, s.ip) })
}

// beforeSelf leaves the servers that are better than this system: mail must not travel in a circle
// (RFC 5321 5.1).
func (a *Agent) beforeSelf(list []server, self int) route {
	pref := list[self].pref
	better := make([]server, 0, len(list))
	for _, s := range list {
		if s.pref < pref {
			better = append(better, s)
		}
	}
	return route{servers: better, final: true}
}

// noneBeforeSelf is why there is no server left: this system is the best, or those that are better cannot be found.
func noneBeforeSelf(domain string, best bool) *deliver.Status {
	if best {
		return loopsBack(domain)
	}
	return &deliver.Status{Action: deliver.Deferred, Enhanced: wire.Enhanced{4, 4, 4}, Relay: "none", Dead: true,
		Text: "unable to find primary relay for " + domain}
}

func loopsBack(domain string) *deliver.Status {
	return &deliver.Status{Action: deliver.Bounced, Enhanced: loopStatus, Relay: "none", Text: loops(domain)}
}

func loops(domain string) string { return "mail for " + domain + " loops back to myself" }
