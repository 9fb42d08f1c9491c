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
	dir  string // of the configuration

	own       []netip.Addr // addresses of this host and of proxies in front of it
	allOwn    map[netip.Addr]bool
	propagate map[string]bool

	mydestination  List
	aliasDomains   List
	mailboxDomains List
	relayDomains   List

	aliasMaps     Maps
	mailboxMaps   Maps
	relocatedMaps Maps

	mail, probe         routes
	mailbox             transport
	transportSubdomains bool // transport_maps match subdomains without a dot
}

// New returns a resolver with the parameters of main. Tables that cannot be
// opened are errors of the opener, by its own policy.
func New(main *postfix.Main, open Opener, log *maillog.Logger) (*Resolver, error) {
	r := &Resolver{log: log, dir: main.Dir(), allOwn: map[netip.Addr]bool{}, propagate: map[string]bool{}}
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
	r.mailbox = parseTransport(r.set.MailboxTransport)
	r.transportSubdomains = r.matchesSubdomains("transport_maps")
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
		{&r.relocatedMaps, "relocated_maps", r.set.RelocatedMaps},
	}
	for _, m := range maps {
		var err error
		if *m.dst, err = open.OpenMaps(m.param, m.value); err != nil {
			return fmt.Errorf("%s: %w", m.param, err)
		}
	}
	return r.openRoutes(open)
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
	return r.resolve(ctx, &r.mail, sender, rcpt)
}

// ResolveProbe finds out where an address probe goes (address_verify_*).
func (r *Resolver) ResolveProbe(ctx context.Context, sender, rcpt string) (Result, error) {
	return r.resolve(ctx, &r.probe, sender, rcpt)
}

func (r *Resolver) resolve(ctx context.Context, by *routes, sender, rcpt string) (Result, error) {
	a, err := r.reduce(ctx, rcpt)
	if err != nil {
		return Result{}, err
	}
	ok, err := r.checkDomain(ctx, &a)
	if err != nil {
		return Result{}, err
	}
	res := Result{Recipient: a.String()}
	if !ok {
		return invalid(res), nil
	}
	res.Routed = a.isRouted()
	via, err := r.classify(ctx, by, sender, &a, &res)
	if err != nil {
		return Result{}, err
	}
	if res.Class != VirtualAlias {
		if via, err = r.override(ctx, by, via, &a, &res); err != nil {
			return Result{}, err
		}
	}
	if via, err = r.relocate(ctx, via, &res); err != nil {
		return Result{}, err
	}
	// Commands would take it for an option.
	if strings.HasPrefix(res.Recipient, "-") && !r.set.AllowMinUser {
		return invalid(res), nil
	}
	res.Transport, res.Nexthop = via.name, via.nexthop
	return res, nil
}

const badSyntax = "5.1.3 bad address syntax"

// invalid is the result for an address to which no mail can go.
func invalid(res Result) Result {
	res.Transport, res.Nexthop, res.BadSyntax = "error", badSyntax, true
	return res
}

// classify finds the class of an address, and what that says of its way.
func (r *Resolver) classify(ctx context.Context, by *routes, sender string, a *address, res *Result) (via transport, err error) {
	domain := strings.ToLower(a.domain)
	blame := ""
	if a.local {
		res.Class = Local
		r.warnTwice(ctx, a.domain, "mydestination",
			namedList{"virtual_alias_domains", r.aliasDomains}, namedList{"virtual_mailbox_domains", r.mailboxDomains})
		via, blame = by.local.orNexthop(domain), "local_transport"
		if via.name == "local" && r.mailbox.name != "" {
			// local(8) would hand over what no alias takes.
			via = r.mailbox.orNexthop(domain)
		}
	} else {
		in, err := r.aliasDomains.Match(ctx, domain)
		if err != nil {
			return via, r.lookupFailed("virtual_alias_domains", err)
		}
		if in {
			res.Class = VirtualAlias
			r.warnTwice(ctx, a.domain, "virtual_alias_domains",
				namedList{"virtual_mailbox_domains", r.mailboxDomains}, namedList{"relay_domains", r.relayDomains})
			return transport{"error", "5.1.1 User unknown" + r.tableName(" in virtual alias table")}, nil
		}
		if in, err = r.mailboxDomains.Match(ctx, domain); err != nil {
			return via, r.lookupFailed("virtual_mailbox_domains", err)
		}
		if in {
			res.Class = VirtualMailbox
			r.warnTwice(ctx, a.domain, "virtual_mailbox_domains", namedList{"relay_domains", r.relayDomains})
			via, blame = by.virtual.orNexthop(domain), "virtual_transport"
		} else if via, blame, err = r.classifyRemote(ctx, by, sender, domain, res); err != nil {
			return via, err
		}
	}
	if via.name == "" {
		r.log.Warningf("file %s/main.cf: parameter %s: null transport is not allowed", r.dir, blame)
		return via, errNullTransport
	}
	return via, nil
}

// classifyRemote is classify for mail to other systems.
func (r *Resolver) classifyRemote(ctx context.Context, by *routes, sender, domain string, res *Result) (via transport, blame string, err error) {
	in, err := r.relayDomains.Match(ctx, domain)
	if err != nil {
		return via, "", r.lookupFailed("relay_domains", err)
	}
	if in {
		res.Class = Relay
		via, blame = by.relay, "relay_transport"
	} else if via, err = r.senderDefault(ctx, by, sender); err != nil {
		return via, "", err
	}
	if blame == "" {
		blame = "default_transport"
	}
	nexthop, err := r.relayhost(ctx, by, sender, domain)
	return via.orNexthop(nexthop), blame, err
}

func (r *Resolver) tableName(s string) string {
	if r.set.ShowUserUnknownTable {
		return s
	}
	return ""
}

// A namedList is a list with the parameter that names it.
type namedList struct {
	param string
	List
}

// warnTwice tells about a domain that is in two classes: what is listed in the
// later one has no effect.
func (r *Resolver) warnTwice(ctx context.Context, domain, param string, others ...namedList) {
	if !r.set.HelpfulWarnings {
		return
	}
	for i := range others {
		if in, err := others[i].Match(ctx, strings.ToLower(domain)); err == nil && in {
			r.log.Warningf("do not list domain %s in BOTH %s and %s", domain, param, others[i].param)
		}
	}
}
