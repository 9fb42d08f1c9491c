package smtp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// maxRecords bounds what of one answer, and of the addresses of one destination, is used.
const maxRecords = 100

// hostServers returns the addresses of a host.
func (a *Agent) hostServers(ctx context.Context, host, port string, pref uint16) ([]server, *deliver.Status) {
	answer, err := a.addresses(ctx, host)
	if err == nil {
		answer.Records, err = filter(ctx, a, "A", host, answer, func(ip netip.Addr) (string, string) {
			if ip.Is4() {
				return "A", ip.String()
			}
			return "AAAA", ip.String()
		})
	}
	if err != nil {
		return nil, a.lookupFailed(host, "A", err)
	}
	if a.set.CNAMEOverrides && answer.Name != "" {
		host = answer.Name
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

// hostOnly returns the servers of a host that no other record stands before.
func (a *Agent) hostOnly(ctx context.Context, host, port string, loops bool) (route, *deliver.Status) {
	list, failed := a.hostServers(ctx, host, port, 0)
	if failed != nil {
		return route{}, failed
	}
	if loops && a.meets(list) >= 0 {
		return route{final: true}, loopsBack(host)
	}
	a.sort(list)
	return route{servers: list}, nil
}

// mxServers returns the servers of a domain by its MX records, or its own addresses where it has none
// (RFC 5321 5.1).
func (a *Agent) mxServers(ctx context.Context, domain, port string) (route, *deliver.Status) {
	loops := port == smtpPort
	answer, err := a.resolver.MX(ctx, domain)
	if err == nil && slices.ContainsFunc(answer.Records, func(mx dns.MX) bool { return mx.Host == "" }) { // RFC 7505
		return route{}, &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 1, 0}, Relay: "none",
			Text: "Domain " + domain + " does not accept mail (nullMX)"}
	}
	if err == nil {
		answer.Records, err = filter(ctx, a, "MX", domain, answer, func(mx dns.MX) (string, string) {
			return "MX", fmt.Sprintf("%d %s.", mx.Pref, mx.Host)
		})
	}
	if err != nil {
		if absent(err) || a.shared.IgnoreMXError && !errors.Is(err, errFiltered) {
			a.noteLoop(domain, err)
			return a.hostOnly(ctx, domain, port, loops)
		}
		return route{}, a.lookupFailed(domain, "MX", err)
	}
	hosts := make([]exchanger, 0, len(answer.Records))
	for _, mx := range answer.Records {
		hosts = append(hosts, exchanger{mx.Host, port, mx.Pref})
	}
	return a.exchangers(ctx, domain, "MX", hosts, answer.Secure, loops)
}

// srvServers returns the servers of a domain for a service by its SRV records (RFC 2782), or if that is
// allowed those that it has without.
func (a *Agent) srvServers(ctx context.Context, domain, service, port string) (route, *deliver.Status) {
	name := "_" + service + "._tcp." + domain
	r, failed, temporary := a.srvRoute(ctx, name, port == smtpPort && a.protocol == SMTP)
	if failed == nil || !a.shared.SRVFallback && !(temporary && a.shared.IgnoreSRVError) {
		return r, failed
	}
	a.log.Infof("skipping SRV lookup for %s: %s", name, failed.Text)
	if a.protocol == SMTP {
		return a.mxServers(ctx, domain, port)
	}
	return a.hostOnly(ctx, domain, port, false)
}

// srvRoute also tells whether it was the lookup that failed.
func (a *Agent) srvRoute(ctx context.Context, name string, loops bool) (r route, failed *deliver.Status, lookup bool) {
	answer, err := a.resolver.SRV(ctx, name)
	if err == nil && slices.ContainsFunc(answer.Records, func(srv dns.SRV) bool { return srv.Target == "" }) {
		return r, &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 1, 0}, Relay: "none",
			Text: "Domain " + name + " does not support SRV requests"}, false
	}
	if err == nil {
		answer.Records, err = filter(ctx, a, "SRV", name, answer, func(srv dns.SRV) (string, string) {
			return "SRV", fmt.Sprintf("%d %d %d %s.", srv.Priority, srv.Weight, srv.Port, srv.Target)
		})
	}
	if err != nil {
		a.noteLoop(name, err)
		return r, a.lookupFailed(name, "SRV", err), !absent(err) && !errors.Is(err, errFiltered)
	}
	var hosts []exchanger
	for _, srv := range byWeight(answer.Records) {
		hosts = append(hosts, exchanger{srv.Target, fmt.Sprint(srv.Port), srv.Priority})
	}
	r, failed = a.exchangers(ctx, name, "SRV", hosts, answer.Secure, loops)
	return r, failed, false
}

// byWeight orders SRV records by priority, equal ones at random by weight (RFC 2782).
func byWeight(records []dns.SRV) []dns.SRV {
	rest := slices.Clone(records)
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	slices.SortStableFunc(rest, func(x, y dns.SRV) int {
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), cmp.Compare(min(x.Weight, 1), min(y.Weight, 1)))
	})
	ordered := make([]dns.SRV, 0, len(rest))
	for len(rest) > 0 {
		n, sum := 0, 0
		for n < len(rest) && rest[n].Priority == rest[0].Priority {
			sum += int(rest[n].Weight)
			n++
		}
		chosen, running := 0, int(rest[0].Weight)
		for mark := rand.IntN(sum + 1); running < mark; running += int(rest[chosen].Weight) {
			chosen++
		}
		ordered = append(ordered, rest[chosen])
		rest = slices.Delete(rest, chosen, chosen+1)
	}
	return ordered
}

// An exchanger is a host that an MX or SRV record names.
type exchanger struct {
	host, port string
	pref       uint16
}

// exchangers looks up the hosts of the records of a domain, and finds out whether this system is one of them.
func (a *Agent) exchangers(ctx context.Context, domain, kind string, hosts []exchanger, secure, loops bool) (route, *deliver.Status) {
	valid, malformed := a.validHosts(domain, kind, hosts)
	if len(valid) == 0 {
		return route{}, malformed
	}
	var list []server
	var failed *deliver.Status
	for _, x := range valid {
		addrs, status := a.exchangerServers(ctx, x)
		// The last reason is told. A host that cannot be looked up now must not let the mail bounce.
		if status != nil && failed != nil && failed.Action == deliver.Deferred {
			status.Action, status.Dead = deliver.Deferred, true
			status.Enhanced[0] = 4
		}
		if status != nil {
			failed = status
		}
		if list = append(list, addrs...); len(list) >= maxRecords {
			list = list[:maxRecords]
			break
		}
	}
	for i := range list {
		list[i].domain, list[i].badMX = strings.TrimSuffix(domain, "."), !secure
	}
	if len(list) == 0 {
		a.log.Warningf("no %s host for %s has a valid address record", kind, domain)
		if kind == "MX" && failed.Action == deliver.Bounced && a.set.DeferIfNoMX {
			failed.Action, failed.Enhanced[0], failed.Dead = deliver.Deferred, 4, true
		}
		return route{}, failed
	}
	r := route{servers: list}
	if self := a.meets(list); loops && self >= 0 {
		if r = a.beforeSelf(list, self); len(r.servers) == 0 {
			return r, noneBeforeSelf(domain, list[self].pref == valid[0].pref)
		}
	}
	if kind == "MX" {
		a.sort(r.servers)
	}
	return r, nil
}

// exchangerServers are the addresses of the host of a record, which may be an address although it must not.
func (a *Agent) exchangerServers(ctx context.Context, x exchanger) ([]server, *deliver.Status) {
	if ip, err := netip.ParseAddr(x.host); err == nil {
		return []server{newServer(x.host, ip.Unmap(), x.port, x.pref)}, nil
	}
	return a.hostServers(ctx, x.host, x.port, x.pref)
}

// validHosts leaves out what is no name of a host.
func (a *Agent) validHosts(domain, kind string, hosts []exchanger) ([]exchanger, *deliver.Status) {
	valid := make([]exchanger, 0, len(hosts))
	for _, x := range hosts {
		what := ""
		if _, err := netip.ParseAddr(x.host); err == nil {
			what = "numeric"
		} else if problem := wire.HostnameError(x.host); problem != "" {
			what = "malformed"
			a.log.Warningf("valid_hostname: %s: %.100s", problem, x.host)
		}
		if what != "" {
			a.log.Warningf("%s domain name in resource data of %s record for %s: %.100s", what, kind, domain, x.host)
		}
		if what != "malformed" {
			valid = append(valid, x)
		}
	}
	return valid, &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 4, 4}, Relay: "none",
		Text: nameServiceError(domain, kind, dns.ErrMalformed)}
}

// absent tells whether the DNS says for sure that there are no such records.
func absent(err error) bool {
	return errors.Is(err, dns.ErrNXDomain) || errors.Is(err, dns.ErrNoData) || errors.Is(err, dns.ErrLoop)
}

func nameServiceError(name, kind string, reason error) string {
	return "Name service error for name=" + name + " type=" + kind + ": " + reason.Error()
}

// noteLoop warns of CNAME records that lead in a circle.
func (a *Agent) noteLoop(name string, err error) {
	if errors.Is(err, dns.ErrLoop) {
		a.log.Warningf("dns_lookup: Name server loop for %s", name)
	}
}

// lookupFailed is the status after a DNS lookup failed, in Postfix's words.
func (a *Agent) lookupFailed(name, kind string, err error) *deliver.Status {
	if kind == "A" {
		a.noteLoop(name, err)
		if a.family() != dns.IPv4 {
			kind = "AAAA" // which was asked for last
		}
	}
	var where *dns.Error
	if errors.As(err, &where) {
		name = where.Name // at the end of CNAMEs
	}
	s := &deliver.Status{Action: deliver.Bounced, Enhanced: wire.Enhanced{5, 4, 4}, Relay: "none"}
	if dns.Temporary(err) {
		s.Action, s.Enhanced, s.Dead = deliver.Deferred, wire.Enhanced{4, 4, 3}, true
	}
	const prefix = "Host or domain name not found. "
	switch {
	case errors.Is(err, errFiltered):
		s.Enhanced = wire.Enhanced{4, 7, 0}
		s.Text = filterText(name, kind, err)
	case errors.Is(err, errFilter):
		s.Text = filterText(name, kind, err)
	case errors.Is(err, dns.ErrLoop):
		s.Text = "Name server loop for " + name
	case errors.Is(err, dns.ErrMalformed):
		s.Text = nameServiceError(name, kind, dns.ErrMalformed)
	case errors.Is(err, dns.ErrNXDomain):
		s.Text = prefix + nameServiceError(name, kind, dns.ErrNXDomain)
	case errors.Is(err, dns.ErrNoData):
		s.Text = prefix + nameServiceError(name, kind, dns.ErrNoData)
	default:
		s.Text = prefix + nameServiceError(name, kind, dns.ErrTryAgain)
	}
	return s
}
