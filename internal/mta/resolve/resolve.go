package resolve

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A Class is the address class of a recipient (ADDRESS_CLASS_README).
type Class uint8

// The address classes.
const (
	Default Class = iota
	Local
	VirtualAlias
	VirtualMailbox
	Relay
)

// A Result is where a recipient's mail goes.
type Result struct {
	Transport string // name in master.cf; "error" and "retry" have their text in Nexthop
	Nexthop   string
	Recipient string // standard form
	Class     Class
	Routed    bool // the local part has routing operators: the mail may go elsewhere from the next hop
	BadSyntax bool // no valid address; Transport is "error"
}

// A Resolver rewrites and resolves addresses. It is safe for concurrent use.
type Resolver struct {
	core postfix.Core
	set  Settings
	log  *maillog.Logger

	own       []netip.Addr // addresses of this host and of proxies in front of it
	allOwn    map[netip.Addr]bool
	propagate map[string]bool

	mydestination  List
	aliasDomains   List
	mailboxDomains List
	relayDomains   List

	aliasMaps         Maps
	mailboxMaps       Maps
	transportMaps     Maps
	relocatedMaps     Maps
	relayhostMaps     Maps
	senderDefaultMaps Maps

	local, mailbox, virtual, relay, fallback transport
}

// transport is a parsed "transport:nexthop" value.
type transport struct{ name, nexthop string }

func parseTransport(s string) transport {
	name, nexthop, _ := strings.Cut(s, ":")
	return transport{strings.TrimSpace(name), strings.TrimSpace(nexthop)}
}

// New returns a resolver with the parameters of main. Tables that cannot be
// opened are errors of the opener, by its own policy.
func New(main *postfix.Main, open Opener, log *maillog.Logger) (*Resolver, error) {
	r := &Resolver{log: log, allOwn: map[netip.Addr]bool{}, propagate: map[string]bool{}}
	if err := main.Decode(&r.core); err != nil {
		return nil, err
	}
	if err := main.Decode(&r.set); err != nil {
		return nil, err
	}
	if err := r.openTables(open); err != nil {
		return nil, err
	}
	var err error
	if r.own, err = ownAddresses(r.core.InetInterfaces, r.core.ProxyInterfaces); err != nil {
		return nil, err
	}
	for _, addr := range r.own {
		r.allOwn[addr] = true
	}
	for _, word := range postfix.SplitList(r.set.PropagateExtensions) {
		r.propagate[word] = true
	}
	r.local = parseTransport(r.set.LocalTransport)
	r.mailbox = parseTransport(r.set.MailboxTransport)
	r.virtual = parseTransport(r.set.VirtualTransport)
	r.relay = parseTransport(r.set.RelayTransport)
	r.fallback = parseTransport(r.set.DefaultTransport)
	return r, nil
}

func (r *Resolver) openTables(open Opener) error {
	lists := []struct {
		dst   *List
		param string
		value string
		kind  ListKind
	}{
		{&r.mydestination, "mydestination", r.core.Mydestination, StringList},
		{&r.aliasDomains, "virtual_alias_domains", r.set.VirtualAliasDomains, StringList},
		{&r.mailboxDomains, "virtual_mailbox_domains", r.set.VirtualMailboxDomains, StringList},
		{&r.relayDomains, "relay_domains", r.core.RelayDomains, DomainList},
	}
	for _, l := range lists {
		var err error
		if *l.dst, err = open.OpenList(l.param, l.value, l.kind); err != nil {
			return fmt.Errorf("%s: %w", l.param, err)
		}
	}
	maps := []struct {
		dst   *Maps
		param string
		value string
	}{
		{&r.aliasMaps, "virtual_alias_maps", r.set.VirtualAliasMaps},
		{&r.mailboxMaps, "virtual_mailbox_maps", r.set.VirtualMailboxMaps},
		{&r.transportMaps, "transport_maps", r.set.TransportMaps},
		{&r.relocatedMaps, "relocated_maps", r.set.RelocatedMaps},
		{&r.relayhostMaps, "sender_dependent_relayhost_maps", r.set.SenderRelayhostMaps},
		{&r.senderDefaultMaps, "sender_dependent_default_transport_maps", r.set.SenderDefaultTransportMaps},
	}
	for _, m := range maps {
		var err error
		if *m.dst, err = open.OpenMaps(m.param, m.value); err != nil {
			return fmt.Errorf("%s: %w", m.param, err)
		}
	}
	return nil
}

// AliasMaps returns virtual_alias_maps, which cleanup(8) expands.
func (r *Resolver) AliasMaps() Maps { return r.aliasMaps }

// MailboxMaps returns virtual_mailbox_maps, which smtpd(8) checks.
func (r *Resolver) MailboxMaps() Maps { return r.mailboxMaps }

// Core returns the core parameters the resolver works with.
func (r *Resolver) Core() *postfix.Core { return &r.core }

// Resolve finds out where mail from sender for rcpt goes. An error is a
// temporary failure of a table.
func (r *Resolver) Resolve(ctx context.Context, sender, rcpt string) (Result, error) {
	if rcpt == "" {
		rcpt = r.Rewrite(ctx, "local", r.set.EmptyRecipient)
	}
	a, err := r.reduce(ctx, rcpt)
	if err != nil {
		return Result{}, err
	}
	res := Result{Recipient: a.String(), Routed: a.routed}
	if reason := a.invalid(&r.set); reason != "" {
		res.Transport, res.Nexthop, res.BadSyntax = "error", reason, reason == badSyntax
		return res, nil
	}
	via, err := r.classify(ctx, sender, &a, &res)
	if err != nil {
		return Result{}, err
	}
	if res.Class != VirtualAlias {
		if via, err = r.override(ctx, via, &a, &res); err != nil {
			return Result{}, err
		}
		if via, err = r.relocate(ctx, via, &res); err != nil {
			return Result{}, err
		}
	}
	res.Transport, res.Nexthop = via.name, via.nexthop
	return res, nil
}

const badSyntax = "5.1.3 bad address syntax"

// classify finds the class of an address, and what that says of its way.
func (r *Resolver) classify(ctx context.Context, sender string, a *address, res *Result) (transport, error) {
	domain := strings.ToLower(a.domain)
	if a.local {
		res.Class = Local
		r.warnTwice(ctx, domain)
		if r.local.name == "local" && r.mailbox.name != "" {
			// local(8) would hand over what no alias takes.
			return r.mailbox.orNexthop(domain), nil
		}
		return r.local.orNexthop(domain), nil
	}
	in, err := r.aliasDomains.Match(ctx, domain)
	if err != nil {
		return transport{}, err
	}
	if in {
		res.Class = VirtualAlias
		return transport{"error", "5.1.1 User unknown" + r.tableName(" in virtual alias table")}, nil
	}
	if in, err = r.mailboxDomains.Match(ctx, domain); err != nil {
		return transport{}, err
	}
	if in {
		res.Class = VirtualMailbox
		return r.virtual.orNexthop(domain), nil
	}
	via := r.relay
	if in, err = r.relayDomains.Match(ctx, domain); err != nil {
		return transport{}, err
	}
	if in {
		res.Class = Relay
	} else if via, err = r.senderDefault(ctx, sender); err != nil {
		return transport{}, err
	}
	return r.viaRelayhost(ctx, via, sender, domain)
}

func (r *Resolver) tableName(s string) string {
	if r.set.ShowUserUnknownTable {
		return s
	}
	return ""
}

// warnTwice tells about a domain that is in two classes. Only for local ones,
// whose other listing has no effect at all.
func (r *Resolver) warnTwice(ctx context.Context, domain string) {
	if strings.HasPrefix(domain, "[") {
		return
	}
	if in, err := r.aliasDomains.Match(ctx, domain); err == nil && in {
		r.log.Warningf("do not list domain %s in BOTH mydestination and virtual_alias_domains", domain)
	}
	if in, err := r.mailboxDomains.Match(ctx, domain); err == nil && in {
		r.log.Warningf("do not list domain %s in BOTH mydestination and virtual_mailbox_domains", domain)
	}
}

func (t transport) orNexthop(nexthop string) transport {
	if t.nexthop == "" {
		t.nexthop = nexthop
	}
	return t
}
