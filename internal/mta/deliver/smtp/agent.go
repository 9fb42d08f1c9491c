package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// Config is what an agent needs.
type Config struct {
	Main     *postfix.Main // with the overrides of its master.cf entry
	Protocol Protocol
	Resolver *dns.Resolver
	Own      []netip.Addr                      // this system's addresses, for the detection of loops
	ReadFile func(path string) ([]byte, error) // reads certificates and keys
	Log      *maillog.Logger
}

// An Agent delivers by SMTP or LMTP. It is a [deliver.Agent].
type Agent struct {
	set      *Settings
	core     *postfix.Core
	protocol Protocol
	resolver *dns.Resolver
	own      []netip.Addr
	log      *maillog.Logger
	level    tlsLevel
	tls      *tls.Config // nil when the level is none
	cache    cache
}

var _ deliver.Agent = (*Agent)(nil)

// New returns an agent. An error is one of the configuration.
func New(c Config) (*Agent, error) {
	a := &Agent{protocol: c.Protocol, resolver: c.Resolver, own: c.Own, log: c.Log}
	var err error
	if a.set, err = settings(c.Main, c.Protocol); err != nil {
		return nil, err
	}
	if a.core, err = postfix.Get[postfix.Core](c.Main); err != nil {
		return nil, err
	}
	if a.level, err = a.set.tlsLevel(); err != nil {
		return nil, err
	}
	if a.level != tlsNone {
		if a.tls, err = a.tlsConfig(c.ReadFile); err != nil {
			return nil, err
		}
	}
	a.cache.limit = a.set.CacheTimeLimit
	return a, nil
}

// Close ends the connections that are kept.
func (a *Agent) Close() { a.cache.close() }

func (a *Agent) tlsConfig(readFile func(string) ([]byte, error)) (*tls.Config, error) {
	p := tlsconf.Params{NoVerify: a.level < tlsVerify}
	var err error
	read := func(name string) []byte {
		if name == "" || err != nil {
			return nil
		}
		var content []byte
		content, err = readFile(name)
		return content
	}
	p.CAPEM = read(a.set.TLSCAFile)
	if p.CertPEM = read(a.set.TLSCertFile); p.CertPEM != nil {
		p.KeyPEM = read(a.set.TLSKeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("client TLS configuration problem: %w", err)
	}
	return tlsconf.Client(p)
}

// An attempt is the work on one request: which recipients are still undecided,
// and why.
type attempt struct {
	agent  *Agent
	req    *deliver.Request
	report func(int, deliver.Status)
	left   []int // indexes of recipients not decided yet
	last   deliver.Status
	each   map[int]deliver.Status // refused for now by a server, by recipient
}

// Deliver implements [deliver.Agent].
func (a *Agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	t := &attempt{agent: a, req: r, report: report, left: make([]int, len(r.Recipients))}
	for i := range t.left {
		t.left[i] = i
	}
	if !t.reuse(ctx) {
		t.tryServers(ctx)
	}
	for _, i := range t.left {
		if s, ok := t.each[i]; ok {
			report(i, s)
			continue
		}
		report(i, t.last)
	}
}

// reuse tries connections that were kept for the same next hop. It reports
// whether everything is decided.
func (t *attempt) reuse(ctx context.Context) (done bool) {
	a := t.agent
	for {
		s := a.cache.take(t.req.Nexthop)
		if s == nil {
			return false
		}
		err := t.transact(ctx, s)
		a.release(s, t.req.Nexthop, err)
		if len(t.left) == 0 {
			return true
		}
		// A kept connection that the server closed says nothing of the server.
		if err == nil {
			return false
		}
	}
}

// tryServers tries the servers of the next hop in their order.
func (t *attempt) tryServers(ctx context.Context) {
	a := t.agent
	servers, status := a.servers(ctx, t.req.Nexthop)
	if status != nil {
		t.last = *status
		t.failAll(*status)
		return
	}
	t.last = noServer
	sessions := 0
	for i := range servers {
		if len(t.left) == 0 || ctx.Err() != nil {
			return
		}
		if a.set.MXSessionLimit > 0 && sessions >= a.set.MXSessionLimit {
			return
		}
		s, status := a.connect(ctx, &servers[i])
		if status != nil {
			t.last = *status
			continue
		}
		sessions++
		err := t.transact(ctx, s)
		a.release(s, t.req.Nexthop, err)
	}
}

// failAll decides all undecided recipients, when the status is final.
func (t *attempt) failAll(s deliver.Status) {
	if s.Action == deliver.Deferred {
		return
	}
	for _, i := range t.left {
		t.report(i, s)
	}
	t.left = t.left[:0]
}

// release keeps a session that is fit for more, and ends any other.
func (a *Agent) release(s *session, nexthop string, err error) {
	switch {
	case err != nil:
		s.close()
	case !a.set.CacheOnDemand,
		a.set.ReuseCountLimit > 0 && s.uses >= a.set.ReuseCountLimit,
		time.Since(s.opened) > a.set.ReuseTimeLimit:
		s.quit()
	default:
		a.cache.put(nexthop, s)
	}
}

// noServer is what stands when no server could be tried.
var noServer = deliver.Status{
	Action: deliver.Deferred, Enhanced: wire.Enhanced{4, 3, 0}, Relay: "none", Dead: true,
	Text: "server unavailable or unable to receive mail",
}
