package smtpd

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// serverKind says which servers of a domain a check_*_access restriction looks at.
type serverKind string

const (
	serversNS serverKind = "NS"
	serversMX serverKind = "MX"
	serversA  serverKind = "A" // the addresses of the name itself
)

// maxServerAddrs bounds the look-ups for one name: whoever sends chooses it.
const maxServerAddrs = 100

// checkServers makes the restrictions check_*_{ns,mx,a}_access: an access table decides by
// the names and addresses of a domain's servers.
func checkServers(of target, kind serverKind) func(e *eval, it *item) verdict {
	return func(e *eval, it *item) verdict {
		name, sub, ok := of(e)
		if !ok {
			return dunno
		}
		v := e.serverAccess(it, name, kind, sub)
		return e.neverPermit(it, v, name)
	}
}

func (e *eval) serverAccess(it *item, name string, kind serverKind, sub subject) verdict {
	domain := domainOf(name)
	if domain == "" {
		return dunno
	}
	if domain[0] == '[' {
		// A literal is its own mail exchanger; it has no name server.
		addr, ok := smtp.ParseLiteral(domain)
		if !ok || kind == serversNS {
			return dunno
		}
		return e.accessResult(it, e.addrLookup(it, addr.String()), sub)
	}
	servers := e.servers(smtp.ASCIIDomain(domain), kind, name)
	addrs := 0
	for _, server := range servers {
		f := e.oneServer(it, server, kind, sub, &addrs)
		if f.ok || f.err != nil {
			return e.accessResult(it, f, sub)
		}
		if addrs > maxServerAddrs {
			e.s.srv.log.Warningf("check_server_access: %s server address count limit (%d) exceeded for %s %s -- ignoring the remainder", kind, maxServerAddrs, sub.class, sub.text)
			break
		}
	}
	return dunno
}

// oneServer looks up a server by its name, then by its addresses.
func (e *eval) oneServer(it *item, server string, kind serverKind, sub subject, count *int) found {
	if _, err := netip.ParseAddr(server); err == nil {
		return e.addrLookup(it, server)
	}
	if kind != serversA {
		if f := e.hostLookup(it, server); f.ok || f.err != nil {
			return f
		}
	}
	addrs, err := e.addresses(server)
	if err != nil {
		if kind != serversA {
			e.s.srv.log.Warningf("Unable to look up %s host %s for %s %s: %s", kind, server, sub.class, sub.text, resolverError(err))
		}
		return found{}
	}
	for _, addr := range addrs.Records {
		if *count++; *count > maxServerAddrs {
			break
		}
		if f := e.addrLookup(it, addr.Unmap().String()); f.ok || f.err != nil {
			return f
		}
	}
	return found{}
}

// addresses looks up a host as getaddrinfo(3) does, which does not ask name servers about names that no host has.
func (e *eval) addresses(host string) (dns.Answer[netip.Addr], error) {
	odd := func(c rune) bool {
		return c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
	}
	if strings.ContainsFunc(host, odd) {
		return dns.Answer[netip.Addr]{}, dns.ErrNXDomain
	}
	return e.s.srv.names.NativeAddrs(e.s.ctx, host, e.s.srv.family)
}

// servers are the names of a domain's servers. A domain without MX is its own mail
// exchanger; one without NS has those of the domain above.
func (e *eval) servers(domain string, kind serverKind, name string) []string {
	names := e.s.srv.names
	if names == nil {
		return nil
	}
	var servers []string
	var err error
	switch kind {
	case serversA:
		return []string{domain}
	case serversMX:
		var mx dns.Answer[dns.MX]
		if !smtp.ValidHostname(domain) {
			return []string{domain}
		}
		if mx, err = names.MX(e.s.ctx, domain); err != nil && !dns.Temporary(err) {
			return []string{domain}
		}
		for _, r := range mx.Records {
			if r.Host != "" { // RFC 7505: it takes no mail
				servers = append(servers, r.Host)
			}
		}
	case serversNS:
		var ns dns.Answer[string]
		ns, domain, err = e.nameServers(domain)
		servers = ns.Records
	}
	if err != nil {
		if domain == "" {
			domain = name
		}
		e.s.srv.log.Warningf("Unable to look up %s host for %s: %s", kind, domain, lookupReason(err))
	}
	return servers
}

// nameServers returns the name servers of a domain, or of the nearest one above it, and
// whose they are: empty if nobody has any.
func (e *eval) nameServers(domain string) (dns.Answer[string], string, error) {
	for {
		ns, err := e.s.srv.names.NS(e.s.ctx, domain)
		if err == nil || dns.Temporary(err) {
			return ns, domain, err
		}
		_, above, ok := strings.Cut(domain, ".")
		if !ok || above == "" {
			return ns, "", err
		}
		domain = above
	}
}

// lookupReason is what is wrong with a look-up, in the words of Postfix.
func lookupReason(err error) string {
	if errors.Is(err, errFiltered) {
		return "DNS reply filter policy"
	}
	for _, why := range []error{dns.ErrNXDomain, dns.ErrNoData, dns.ErrMalformed} {
		if errors.Is(err, why) {
			return why.Error()
		}
	}
	return dns.ErrTryAgain.Error()
}

// resolverError is the same in the words of getaddrinfo(3), which Postfix asks for addresses.
func resolverError(err error) string {
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		return "Name or service not known"
	case errors.Is(err, dns.ErrNoData):
		return "No address associated with hostname"
	}
	return "Temporary failure in name resolution"
}
