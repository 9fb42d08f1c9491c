package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// transport is a parsed "transport:nexthop" value.
type transport struct{ name, nexthop string }

func parseTransport(s string) transport {
	name, nexthop, _ := strings.Cut(s, ":")
	return transport{name, nexthop}
}

func (t transport) orNexthop(nexthop string) transport {
	if t.nexthop == "" {
		t.nexthop = nexthop
	}
	return t
}

// routes are the transports of one kind of mail: of all, or of address probes.
type routes struct {
	local, virtual, relay, fallback transport
	relayhost                       string
	transportMaps                   namedMaps
	relayhostMaps                   namedMaps
	senderDefaultMaps               namedMaps
}

// namedMaps are maps with the parameter that names them, for the log.
type namedMaps struct {
	Maps
	param string
}

// errNullTransport is a setting without the name of a transport.
var errNullTransport = errors.New("null transport is not allowed")

// openRoutes opens the routes of all mail, and those of probes. Where a probe
// goes the way of mail they share their tables.
func (r *Resolver) openRoutes(open Opener) error {
	s := &r.set
	r.mail = routes{
		local: parseTransport(s.LocalTransport), virtual: parseTransport(s.VirtualTransport),
		relay: parseTransport(s.RelayTransport), fallback: parseTransport(s.DefaultTransport), relayhost: r.core.Relayhost,
	}
	r.probe = routes{
		local: parseTransport(s.VerifyLocalTransport), virtual: parseTransport(s.VerifyVirtualTransport),
		relay: parseTransport(s.VerifyRelayTransport), fallback: parseTransport(s.VerifyDefaultTransport), relayhost: s.VerifyRelayhost,
	}
	for _, m := range []struct {
		dst, probe   *namedMaps
		param        string
		value, other string
	}{
		{&r.mail.transportMaps, &r.probe.transportMaps, "transport_maps", s.TransportMaps, s.VerifyTransportMaps},
		{&r.mail.relayhostMaps, &r.probe.relayhostMaps, "sender_dependent_relayhost_maps", s.SenderRelayhostMaps, s.VerifySenderRelayhostMaps},
		{&r.mail.senderDefaultMaps, &r.probe.senderDefaultMaps, "sender_dependent_default_transport_maps",
			s.SenderDefaultTransportMaps, s.VerifySenderDefaultTransportMaps},
	} {
		maps, err := open.OpenMaps(m.param, m.value)
		if err != nil {
			return fmt.Errorf("%s: %w", m.param, err)
		}
		*m.dst = namedMaps{maps, m.param}
		*m.probe = *m.dst
		if m.other == m.value {
			continue
		}
		param := "address_verify_" + m.param
		if maps, err = open.OpenMaps(param, m.other); err != nil {
			return fmt.Errorf("%s: %w", param, err)
		}
		*m.probe = namedMaps{maps, param}
	}
	return nil
}

// lookupFailed tells of a table that says which way mail goes, and could not.
func (r *Resolver) lookupFailed(param string, err error) error {
	r.log.Warningf("%s lookup failure", param)
	return err
}

// senderDefault is default_transport, which the sender may override.
func (r *Resolver) senderDefault(ctx context.Context, by *routes, sender string) (transport, error) {
	value, found, err := r.findSender(ctx, by.senderDefaultMaps, sender, r.set.NullDefaultTransportKey)
	if err != nil || !found || strings.EqualFold(value, "DUNNO") {
		return by.fallback, err
	}
	return parseTransport(value), nil
}

// relayhost is the host that mail to elsewhere goes through: that of the sender,
// else the one of all, else there is none but the domain itself.
func (r *Resolver) relayhost(ctx context.Context, by *routes, sender, domain string) (string, error) {
	value, found, err := r.findSender(ctx, by.relayhostMaps, sender, r.set.NullRelayhostKey)
	switch {
	case err != nil:
		return "", err
	case found && !strings.EqualFold(value, "DUNNO"):
		return value, nil
	case by.relayhost != "":
		return by.relayhost, nil
	}
	return domain, nil
}

// findSender looks a sender up. The null sender has a key of its own.
func (r *Resolver) findSender(ctx context.Context, maps namedMaps, sender, null string) (string, bool, error) {
	if maps.Empty() {
		return "", false, nil
	}
	if sender == "" {
		sender = null
	}
	value, _, found, err := r.Find(ctx, maps, sender, FindDefault)
	if err != nil {
		return "", false, r.lookupFailed(maps.param, err)
	}
	return value, found, nil
}

// override applies transport(5): the whole address, the address without
// extension, the domain, its parents as ".parent", and "*".
func (r *Resolver) override(ctx context.Context, by *routes, via transport, a *address, res *Result) (transport, error) {
	if by.transportMaps.Empty() {
		return via, nil
	}
	value, found, err := r.findTransport(ctx, by.transportMaps, a, res.Recipient)
	if err != nil {
		return via, r.lookupFailed(by.transportMaps.param, err)
	}
	if !found {
		return via, nil
	}
	to := parseTransport(value)
	switch to.name {
	case "":
		return transport{via.name, to.nexthop}.orNexthop(via.nexthop), nil
	case "error", "retry":
		return to.orNexthop("Address is undeliverable"), nil
	}
	return to.orNexthop(strings.ToLower(a.domain)), nil
}

func (r *Resolver) findTransport(ctx context.Context, maps namedMaps, a *address, addr string) (string, bool, error) {
	value, _, found, err := r.Find(ctx, maps, addr, FindFull|FindNoExtension)
	if err != nil || found {
		return value, found, err
	}
	for name := strings.ToLower(a.domain); name != ""; {
		if value, found, err = maps.LookupPartial(ctx, name); err != nil || found {
			return value, found, err
		}
		i := strings.IndexByte(name[1:], '.')
		if i < 0 {
			break
		}
		if name = name[i+1:]; r.transportSubdomains {
			name = name[1:]
		}
	}
	// "*" is a key as any other, which patterns may match too.
	return maps.Lookup(ctx, "*")
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
	if err != nil {
		return via, r.lookupFailed("relocated_maps", err)
	}
	if !found {
		return via, nil
	}
	return transport{"error", "5.1.6 User has moved to " + value}, nil
}
