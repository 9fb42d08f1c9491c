package postscreen

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Names looks addresses up; *[dns.Resolver] is one.
type Names interface {
	Addrs(ctx context.Context, name string, family dns.Family) (dns.Answer[netip.Addr], error)
}

// dnsbl asks DNS lists about clients. Several connections of one client share the answers.
type dnsbl struct {
	lists          []*dnsList
	names          Names
	timeout        time.Duration
	minTTL, maxTTL time.Duration
	log            *maillog.Logger // of postscreen
	blog           *maillog.Logger // of dnsblog

	mu     sync.Mutex
	scores map[netip.Addr]*score
}

// A dnsList is a domain with what its answers count.
type dnsList struct {
	domain string
	shown  string // in replies
	sites  []dnsSite
}

type dnsSite struct {
	filter *filter // nil: all answers
	weight int
}

// parseSites reads postscreen_dnsbl_sites: "domain[=filter][*weight]".
func parseSites(value string) ([]*dnsList, error) {
	var lists []*dnsList
	byDomain := make(map[string]*dnsList)
	for _, text := range postfix.SplitList(value) {
		site := dnsSite{weight: 1}
		domain, weight, weighted := strings.Cut(text, "*")
		if weighted {
			var err error
			if site.weight, err = strconv.Atoi(weight); err != nil {
				return nil, fmt.Errorf("bad DNSBL weight factor \"%s\" in \"%s\"", weight, text)
			}
		}
		domain, pattern, filtered := strings.Cut(domain, "=")
		if filtered {
			var err error
			if site.filter, err = parseFilter(pattern); err != nil {
				return nil, fmt.Errorf("bad DNSBL filter syntax: %w", err)
			}
		}
		if smtp.HostnameError(domain) != "" {
			return nil, fmt.Errorf("bad DNSBL domain name \"%s\" in \"%s\"", domain, text)
		}
		l := byDomain[domain]
		if l == nil {
			l = &dnsList{domain: domain, shown: domain}
			byDomain[domain] = l
			lists = append(lists, l)
		}
		l.sites = append([]dnsSite{site}, l.sites...)
	}
	return lists, nil
}

// A score is what the lists say of a client.
type score struct {
	done chan struct{} // closed when all lists have answered

	// Held under dnsbl.mu:
	users            int
	pending          int
	total            int
	name             string // of the list with the greatest weight
	weight           int
	failTTL, passTTL time.Duration // negative: nobody told
}

const unknownTTL = -time.Second

// request asks all lists about a client.
func (d *dnsbl) request(addr netip.Addr) *score {
	d.mu.Lock()
	defer d.mu.Unlock()
	if sc := d.scores[addr]; sc != nil {
		sc.users++
		return sc
	}
	sc := &score{done: make(chan struct{}), users: 1, pending: len(d.lists), failTTL: unknownTTL, passTTL: unknownTTL}
	d.scores[addr] = sc
	for _, l := range d.lists {
		go d.ask(sc, l, addr)
	}
	return sc
}

// A verdict is what a score comes to.
type verdict struct {
	total int
	name  string
	ttl   time.Duration
}

// retrieve returns the score as it is now; the caller does not need it any more.
func (d *dnsbl) retrieve(addr netip.Addr, sc *score) verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.verdict(sc)
	if sc.users--; sc.users == 0 && d.scores[addr] == sc {
		delete(d.scores, addr)
	}
	return v
}

// now returns the score of a client that needs it still.
func (d *dnsbl) now(sc *score) verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.verdict(sc)
}

func (d *dnsbl) verdict(sc *score) verdict {
	ttl := sc.passTTL
	if sc.total > 0 {
		ttl = sc.failTTL
	}
	return verdict{sc.total, sc.name, min(max(ttl, d.minTTL), d.maxTTL)}
}

// ask asks one list. A list that does not answer in time leaves the score undone.
func (d *dnsbl) ask(sc *score, l *dnsList, addr netip.Addr) {
	ctx, cancel := context.WithTimeout(context.Background(), d.timeout)
	defer cancel()
	answer, err := d.names.Addrs(ctx, reversed(addr)+l.domain, dns.IPv4)
	if ctx.Err() != nil {
		d.log.Warningf("dnsblog reply timeout %ds for %s", int(d.timeout.Seconds()), l.domain)
		return
	}
	ttl := unknownTTL
	switch {
	case err == nil:
		ttl = answer.TTL
		for _, a := range answer.Records {
			d.blog.Infof("addr %s listed by domain %s as %s", addr, l.domain, a)
		}
	case dns.Temporary(err):
		d.blog.Warningf("dnsblog_query: lookup error for DNS query %s%s: Host or domain name not found. %v", reversed(addr), l.domain, err)
	default:
		var absent *dns.Error
		if errors.As(err, &absent) {
			ttl = absent.TTL
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sc.count(l, answer.Records, ttl)
	if sc.pending--; sc.pending == 0 {
		close(sc.done)
	}
}

// count adds an answer to the score.
func (sc *score) count(l *dnsList, records []netip.Addr, ttl time.Duration) {
	for _, site := range l.sites {
		listed := len(records) > 0
		if listed && site.matches(records) {
			if sc.name == "" || sc.weight < site.weight {
				sc.name, sc.weight = l.shown, site.weight
			}
			sc.total += site.weight
		}
		bound := &sc.passTTL // what ends first when the answer changes against the client, or for it
		if listed == (site.weight > 0) {
			bound = &sc.failTTL
		}
		if *bound < 0 || *bound > ttl {
			*bound = ttl
		}
	}
}

func (s dnsSite) matches(records []netip.Addr) bool {
	if s.filter == nil {
		return true
	}
	for _, a := range records {
		if s.filter.matches(a) {
			return true
		}
	}
	return false
}

// reversed is an address as DNS lists have it: "1.2.0.192." for 192.0.2.1.
func reversed(addr netip.Addr) string {
	var b []byte
	if addr.Is4() {
		octets := addr.As4()
		for i := range octets {
			b = strconv.AppendInt(b, int64(octets[3-i]), 10)
			b = append(b, '.')
		}
		return string(b)
	}
	const hex = "0123456789abcdef"
	bytes := addr.As16()
	for i := range bytes {
		c := bytes[15-i]
		b = append(b, hex[c&0xf], '.', hex[c>>4], '.')
	}
	return string(b)
}
