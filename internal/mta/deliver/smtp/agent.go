package smtp

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/postmaster"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// Config is what an agent needs.
type Config struct {
	Main     *postfix.Main // with the overrides of its master.cf entry
	Protocol Protocol
	Resolver *dns.Resolver
	Own      []netip.Addr                      // this system's addresses, for the detection of loops
	ReadFile func(path string) ([]byte, error) // reads certificates and keys
	Tables   resolve.Opener
	Rewrite  *resolve.Resolver // for smtp_generic_maps
	Cleanup  *cleanup.Cleanup  // takes notices to the postmaster; nil: there are none
	Log      *maillog.Logger
}

// An Agent delivers by SMTP or LMTP. It is a [deliver.Agent].
type Agent struct {
	set      *Settings
	shared   *shared
	core     *postfix.Core
	protocol Protocol
	resolver *dns.Resolver
	own      []netip.Addr
	log      *maillog.Logger

	discardMaps resolve.Maps // extensions not to be used, by server address
	cached      resolve.List // next hops whose connections are always kept
	dnsFilter   resolve.Maps // of DNS answers
	replyFilter resolve.Maps // of lines of replies
	pixMaps     resolve.Maps // work-arounds by server address
	srv         resolve.List // services that SRV records are looked up for
	tls         *tlsClient
	probe       *dnssecProbe
	sasl        *saslClient // nil when it is switched off
	outgoing    *outgoing   // nil where mail leaves as it is
	cache       cache
	attempts    sync.Pool           // *attempt
	trace       *trace              // nil but for posttls-finger
	notices     *postmaster.Notices // nil: the postmaster is told nothing
}

var _ deliver.Agent = (*Agent)(nil)

// New returns an agent. An error is one of the configuration.
func New(c Config) (*Agent, error) {
	a := &Agent{protocol: c.Protocol, resolver: c.Resolver, own: c.Own, log: c.Log}
	var err error
	if a.set, err = settings(c.Main, c.Protocol); err != nil {
		return nil, err
	}
	if a.shared, err = postfix.Get[shared](c.Main); err != nil {
		return nil, err
	}
	if a.core, err = postfix.Get[postfix.Core](c.Main); err != nil {
		return nil, err
	}
	if a.notices, err = postmaster.New(c.Main, c.Cleanup, c.Log); err != nil {
		return nil, err
	}
	if err := a.openTables(c.Tables); err != nil {
		return nil, err
	}
	for _, s := range postfix.SplitList(a.shared.ProxyAddresses) {
		if ip, err := netip.ParseAddr(s); err == nil {
			a.own = append(a.own, ip)
		}
	}
	if err = a.set.checkBind(a.protocol); err != nil {
		return nil, err
	}
	if a.probe, err = newDNSSECProbe(a.shared.DNSSECProbe); err != nil {
		return nil, err
	}
	if a.tls, err = newTLSClient(&c, a.set, a.shared); err != nil {
		return nil, err
	}
	if a.set.SASLEnable {
		if a.sasl, err = newSASLClient(&c, a.set); err != nil {
			return nil, err
		}
	}
	if a.outgoing, err = newOutgoing(a, &c); err != nil {
		return nil, err
	}
	a.cache.limit = a.set.CacheTimeLimit
	return a, nil
}

func (a *Agent) openTables(tables resolve.Opener) error {
	var err error
	param := a.protocol.prefix() + "connection_cache_destinations"
	if a.cached, err = tables.OpenList(param, a.set.CacheDestinations, resolve.DomainList); err != nil {
		return fmt.Errorf("parameter %s: %w", param, err)
	}
	if a.srv, err = tables.OpenList("use_srv_lookup", a.shared.UseSRV, resolve.StringList); err != nil {
		return fmt.Errorf("parameter use_srv_lookup: %w", err)
	}
	if a.replyFilter, err = tables.OpenMaps(a.protocol.prefix()+"reply_filter", a.set.ReplyFilter); err != nil {
		return err
	}
	if a.pixMaps, err = tables.OpenMaps(a.protocol.prefix()+"pix_workaround_maps", a.set.PIXMaps); err != nil {
		return err
	}
	if a.dnsFilter, err = tables.OpenMaps(a.protocol.prefix()+"dns_reply_filter", a.set.DNSReplyFilter); err != nil {
		return err
	}
	a.discardMaps, err = tables.OpenMaps(a.protocol.discardMaps(), a.set.DiscardEHLOMaps)
	return err
}

// Close ends the connections that are kept.
func (a *Agent) Close() { a.cache.close() }

// keeps says whether connections to a next hop are kept.
func (a *Agent) keeps(ctx context.Context, nexthop string) bool {
	if a.sasl != nil && a.set.SASLBySender {
		return false // the next sender may be somebody else
	}
	if a.set.CacheOnDemand {
		return true
	}
	host, _, _ := splitDestination(nexthop)
	match, err := a.cached.Match(ctx, host)
	return match && err == nil
}
