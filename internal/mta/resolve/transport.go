package resolve

import (
	"context"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// senderDefault is default_transport, which the sender may override.
func (r *Resolver) senderDefault(ctx context.Context, sender string) (transport, error) {
	if r.senderDefaultMaps.Empty() {
		return r.fallback, nil
	}
	value, found, err := r.findSender(ctx, r.senderDefaultMaps, sender)
	if err != nil || !found {
		return r.fallback, err
	}
	return parseTransport(value), nil
}

// viaRelayhost completes a transport without next hop: the relay host of the
// sender, else relayhost, else the domain itself.
func (r *Resolver) viaRelayhost(ctx context.Context, via transport, sender, domain string) (transport, error) {
	if via.nexthop != "" {
		return via, nil
	}
	if !r.relayhostMaps.Empty() {
		value, found, err := r.findSender(ctx, r.relayhostMaps, sender)
		if err != nil {
			return via, err
		}
		if found && !strings.EqualFold(value, "DUNNO") {
			return via.orNexthop(value), nil
		}
		if found {
			return via.orNexthop(domain), nil
		}
	}
	return via.orNexthop(r.core.Relayhost).orNexthop(domain), nil
}

// findSender looks a sender up: its address, then its domain as "@domain". The
// null sender is "<>".
func (r *Resolver) findSender(ctx context.Context, maps Maps, sender string) (string, bool, error) {
	if sender == "" {
		return maps.Lookup(ctx, "<>")
	}
	value, _, found, err := r.Find(ctx, maps, sender, FindFull|FindNoExtension|FindDomain)
	return value, found, err
}

// override applies transport(5): the whole address, the address without
// extension, the domain, its parents as ".parent", and "*".
func (r *Resolver) override(ctx context.Context, via transport, a *address, res *Result) (transport, error) {
	if r.transportMaps.Empty() {
		return via, nil
	}
	value, found, err := r.findTransport(ctx, a, res.Recipient)
	if err != nil || !found {
		return via, err
	}
	name, nexthop, _ := strings.Cut(value, ":")
	name, nexthop = strings.TrimSpace(name), strings.TrimSpace(nexthop)
	switch {
	case name == "" && nexthop == "":
		return via, nil
	case name == "":
		via.nexthop = nexthop
		return via, nil
	case nexthop == "" && (name == "error" || name == "retry"):
		nexthop = "Address is undeliverable"
	}
	return transport{name, nexthop}.orNexthop(strings.ToLower(a.domain)), nil
}

func (r *Resolver) findTransport(ctx context.Context, a *address, addr string) (string, bool, error) {
	maps := r.transportMaps
	value, _, found, err := r.Find(ctx, maps, addr, FindFull|FindNoExtension)
	if err != nil || found {
		return value, found, err
	}
	domain := strings.ToLower(a.domain)
	if value, found, err = maps.LookupPartial(ctx, domain); err != nil || found {
		return value, found, err
	}
	if !strings.HasPrefix(domain, "[") {
		subdomains := r.matchesSubdomains("transport_maps")
		for i := strings.IndexByte(domain, '.'); i >= 0 && i < len(domain)-1; {
			key := domain[i:]
			if subdomains {
				key = key[1:]
			}
			if value, found, err = maps.LookupPartial(ctx, key); err != nil || found {
				return value, found, err
			}
			next := strings.IndexByte(domain[i+1:], '.')
			if next < 0 {
				break
			}
			i += next + 1
		}
	}
	return maps.LookupPartial(ctx, "*")
}

func (r *Resolver) matchesSubdomains(param string) bool {
	for _, name := range postfix.SplitList(r.core.ParentDomainMatchesSubdomains) {
		if name == param {
			return true
		}
	}
	return false
}

// relocate applies relocated(5).
func (r *Resolver) relocate(ctx context.Context, via transport, res *Result) (transport, error) {
	if r.relocatedMaps.Empty() {
		return via, nil
	}
	value, _, found, err := r.Find(ctx, r.relocatedMaps, res.Recipient, FindDefault)
	if err != nil || !found {
		return via, err
	}
	return transport{"error", "5.1.6 User has moved to " + value}, nil
}
