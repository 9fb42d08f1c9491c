package smtp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
)

const zone = `
two.test.        IN MX 20 b.two.test.
two.test.        IN MX 10 a.two.test.
a.two.test.      IN A 192.0.2.1
b.two.test.      IN A 192.0.2.2
equal.test.      IN MX 10 a.equal.test.
equal.test.      IN MX 10 b.equal.test.
equal.test.      IN MX 10 c.equal.test.
a.equal.test.    IN A 192.0.2.11
b.equal.test.    IN A 192.0.2.12
c.equal.test.    IN A 192.0.2.13
null.test.       IN MX 0 .
nomx.test.       IN A 192.0.2.3
six.test.        IN MX 10 mx.six.test.
mx.six.test.     IN AAAA 2001:db8::1
both.test.       IN MX 10 mx.both.test.
mx.both.test.    IN AAAA 2001:db8::2
mx.both.test.    IN A 192.0.2.4
alias.test.      IN CNAME two.test.
xn--bcher-kva.test. IN MX 10 a.two.test.
mxalias.test.    IN MX 10 cname.mxalias.test.
cname.mxalias.test. IN CNAME nomx.test.
nothing.test.    IN TXT "no address"
noaddr.test.     IN MX 10 nothing.test.
gone.test.       IN MX 10 nxdomain.test.
half.test.       IN MX 10 servfail.test.
half.test.       IN MX 20 nomx.test.
broken.test.     IN MX 10 servfail.test.
broken.test.     IN MX 20 nxdomain.test.
self.test.       IN MX 10 first.self.test.
self.test.       IN MX 20 me.self.test.
self.test.       IN MX 20 other.self.test.
self.test.       IN MX 30 last.self.test.
first.self.test. IN A 192.0.2.21
me.self.test.    IN A 203.0.113.1
other.self.test. IN A 192.0.2.22
last.self.test.  IN A 192.0.2.23
loop.test.       IN MX 10 me.self.test.
loop.test.       IN MX 20 last.self.test.
many.test.       IN MX 10 mx.many.test.
mx.many.test.    IN AAAA 2001:db8::10
mx.many.test.    IN AAAA 2001:db8::11
mx.many.test.    IN AAAA 2001:db8::12
mx.many.test.    IN AAAA 2001:db8::13
mx.many.test.    IN AAAA 2001:db8::14
mx.many.test.    IN A 192.0.2.31
_submission._tcp.srv.test. IN SRV 20 0 2002 b.two.test.
_submission._tcp.srv.test. IN SRV 10 0 2001 a.two.test.
_submission._tcp.nosrv.test. IN SRV 0 0 0 .
_submission._tcp.gonesrv.test. IN SRV 10 0 587 nxdomain.test.
gonesrv.test.    IN MX 10 a.two.test.
_submission._tcp.alsomx.test. IN SRV 10 0 2003 a.equal.test.
alsomx.test.     IN MX 10 b.equal.test.
_25._tcp.selfsrv.test. IN SRV 10 0 2004 me.self.test.
_25._tcp.backupsrv.test. IN SRV 20 0 2004 me.self.test.
_25._tcp.backupsrv.test. IN SRV 10 0 2005 first.self.test.
`

const notFound = "Host or domain name not found. Name service error for "

// Where mail for a next hop goes, or why nowhere.
func TestDestination(t *testing.T) {
	server := dnstest.New(t, zone)
	server.Fail("servfail.test", mdns.RcodeServerFailure)
	t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
	server.Fail("_submission._tcp.badsrv.test", mdns.RcodeServerFailure)
	const srv = "use_srv_lookup = submission, 25\n"
	const all = "inet_protocols = all\nsmtp_randomize_addresses = no\n"
	for _, test := range []struct {
		name, config, nexthop string
		want                  string // hosts and addresses in order, or the status
		log                   string
	}{
		{name: "by preference", nexthop: "two.test", want: "a.two.test[192.0.2.1]:25 b.two.test[192.0.2.2]:25"},
		{name: "with a port", nexthop: "two.test:2525", want: "a.two.test[192.0.2.1]:2525 b.two.test[192.0.2.2]:2525"},
		{name: "with a service name", nexthop: "two.test:submission", want: "a.two.test[192.0.2.1]:587 b.two.test[192.0.2.2]:587"},
		{name: "default port", config: "smtp_tcp_port = submission", nexthop: "nomx.test", want: "nomx.test[192.0.2.3]:587"},
		{name: "unknown service", nexthop: "two.test:nonsense", want: "4.3.5 deferred unknown service in next-hop destination two.test:nonsense",
			log: "warning: unknown service in next-hop destination: two.test:nonsense\n"},
		{name: "null MX", nexthop: "null.test", want: "5.1.0 bounced Domain null.test does not accept mail (nullMX)"},
		{name: "no MX", nexthop: "nomx.test", want: "nomx.test[192.0.2.3]:25"},
		{name: "brackets", nexthop: "[two.test]", want: "5.4.4 bounced " + notFound + "name=two.test type=AAAA: Host found but no data record of requested type"},
		{name: "brackets, host with address", nexthop: "[nomx.test]:26", want: "nomx.test[192.0.2.3]:26"},
		{name: "address", nexthop: "[192.0.2.9]", want: "192.0.2.9[192.0.2.9]:25"},
		{name: "IPv6 address", nexthop: "[IPv6:2001:db8::9]:26", want: "2001:db8::9[2001:db8::9]:26"},
		{name: "no such domain", nexthop: "nxdomain.test", want: "5.4.4 bounced " + notFound + "name=nxdomain.test type=AAAA: Host not found"},
		{name: "domain without MX and address", nexthop: "nothing.test", want: "5.4.4 bounced " + notFound + "name=nothing.test type=AAAA: Host found but no data record of requested type"},
		{name: "IPv4 only", config: "inet_protocols = ipv4", nexthop: "nothing.test", want: "5.4.4 bounced " + notFound + "name=nothing.test type=A: Host found but no data record of requested type"},
		{name: "name server failure", nexthop: "servfail.test", want: "4.4.3 deferred " + notFound + "name=servfail.test type=MX: Host not found, try again"},
		{name: "only AAAA", nexthop: "six.test", want: "mx.six.test[2001:db8::1]:25"},
		{name: "only AAAA, IPv4 host", config: "inet_protocols = ipv4", nexthop: "six.test",
			want: "5.4.4 bounced " + notFound + "name=mx.six.test type=A: Host found but no data record of requested type",
			log:  "warning: no MX host for six.test has a valid address record\n"},
		{name: "both families", nexthop: "both.test", want: "mx.both.test[2001:db8::2]:25 mx.both.test[192.0.2.4]:25"},
		{name: "IPv4 preferred", config: "smtp_address_preference = ipv4", nexthop: "both.test", want: "mx.both.test[192.0.2.4]:25 mx.both.test[2001:db8::2]:25"},
		{name: "balance", nexthop: "many.test", config: "smtp_mx_address_limit = 3",
			want: "mx.many.test[2001:db8::10]:25 mx.many.test[2001:db8::11]:25 mx.many.test[192.0.2.31]:25"},
		{name: "domain is a CNAME", nexthop: "alias.test", want: "a.two.test[192.0.2.1]:25 b.two.test[192.0.2.2]:25"},
		{name: "MX is a CNAME", nexthop: "mxalias.test", want: "cname.mxalias.test[192.0.2.3]:25"},
		{name: "named by the end of CNAMEs", config: "smtp_cname_overrides_servername = yes", nexthop: "mxalias.test", want: "nomx.test[192.0.2.3]:25"},
		{name: "not ASCII", nexthop: "bücher.test", want: "a.two.test[192.0.2.1]:25"},
		{name: "host not ASCII", nexthop: "[bücher.test]", want: "5.4.4 bounced " + notFound + "name=xn--bcher-kva.test type=AAAA: Host found but no data record of requested type"},
		{name: "MX without address", nexthop: "noaddr.test", want: "5.4.4 bounced " + notFound + "name=nothing.test type=AAAA: Host found but no data record of requested type",
			log: "warning: no MX host for noaddr.test has a valid address record\n"},
		{name: "MX does not exist", nexthop: "gone.test", want: "5.4.4 bounced " + notFound + "name=nxdomain.test type=AAAA: Host not found",
			log: "warning: no MX host for gone.test has a valid address record\n"},
		{name: "MX without address, deferred", config: "smtp_defer_if_no_mx_address_found = yes", nexthop: "gone.test",
			want: "4.4.4 deferred " + notFound + "name=nxdomain.test type=AAAA: Host not found",
			log:  "warning: no MX host for gone.test has a valid address record\n"},
		{name: "one MX cannot be looked up", nexthop: "half.test", want: "nomx.test[192.0.2.3]:25"},
		{name: "no MX can be looked up now", nexthop: "broken.test", want: "4.4.4 deferred " + notFound + "name=nxdomain.test type=AAAA: Host not found",
			log: "warning: no MX host for broken.test has a valid address record\n"},
		{name: "backup MX", nexthop: "self.test", want: "first.self.test[192.0.2.21]:25"},
		{name: "backup MX, other port", nexthop: "two.test:26", want: "a.two.test[192.0.2.1]:26 b.two.test[192.0.2.2]:26"},
		{name: "best MX", nexthop: "loop.test", want: "5.4.6 bounced mail for loop.test loops back to myself"},
		{name: "own address", nexthop: "[203.0.113.1]", want: "5.4.6 bounced mail for 203.0.113.1 loops back to myself"},
		{name: "own address, other port", nexthop: "[203.0.113.1]:26", want: "203.0.113.1[203.0.113.1]:26"},
		{name: "proxy address", config: "proxy_interfaces = 192.0.2.3", nexthop: "nomx.test", want: "5.4.6 bounced mail for nomx.test loops back to myself"},
		{name: "SRV", config: srv, nexthop: "srv.test:submission", want: "a.two.test[192.0.2.1]:2001 b.two.test[192.0.2.2]:2002"},
		{name: "SRV before MX", config: srv, nexthop: "alsomx.test:submission", want: "a.equal.test[192.0.2.11]:2003"},
		{name: "SRV of another service", config: srv, nexthop: "alsomx.test", want: "b.equal.test[192.0.2.12]:25"},
		{name: "SRV not wanted", nexthop: "alsomx.test:submission", want: "b.equal.test[192.0.2.12]:587"},
		{name: "SRV, brackets", config: srv, nexthop: "[nomx.test]:submission", want: "nomx.test[192.0.2.3]:587"},
		{name: "no service", config: srv, nexthop: "nosrv.test:submission", want: "5.1.0 bounced Domain _submission._tcp.nosrv.test does not support SRV requests"},
		{name: "no SRV", config: srv, nexthop: "two.test:submission", want: "5.4.4 bounced " + notFound + "name=_submission._tcp.two.test type=SRV: Host not found"},
		{name: "no SRV, fallback", config: srv + "allow_srv_lookup_fallback = yes\n", nexthop: "two.test:submission", want: "a.two.test[192.0.2.1]:587 b.two.test[192.0.2.2]:587",
			log: "skipping SRV lookup for _submission._tcp.two.test: " + notFound + "name=_submission._tcp.two.test type=SRV: Host not found\n"},
		{name: "SRV host without address", config: srv, nexthop: "gonesrv.test:submission", want: "5.4.4 bounced " + notFound + "name=nxdomain.test type=AAAA: Host not found",
			log: "warning: no SRV host for _submission._tcp.gonesrv.test has a valid address record\n"},
		{name: "SRV host without address, fallback", config: srv + "allow_srv_lookup_fallback = yes\n", nexthop: "gonesrv.test:submission", want: "a.two.test[192.0.2.1]:587",
			log: "warning: no SRV host for _submission._tcp.gonesrv.test has a valid address record\n" +
				"skipping SRV lookup for _submission._tcp.gonesrv.test: " + notFound + "name=nxdomain.test type=AAAA: Host not found\n"},
		{name: "SRV cannot be looked up", config: srv, nexthop: "badsrv.test:submission", want: "4.4.3 deferred " + notFound + "name=_submission._tcp.badsrv.test type=SRV: Host not found, try again"},
		{name: "SRV cannot be looked up, no matter", config: srv + "ignore_srv_lookup_error = yes\n", nexthop: "badsrv.test:submission",
			want: "5.4.4 bounced " + notFound + "name=badsrv.test type=AAAA: Host not found",
			log:  "skipping SRV lookup for _submission._tcp.badsrv.test: " + notFound + "name=_submission._tcp.badsrv.test type=SRV: Host not found, try again\n"},
		{name: "no SRV, although errors do not matter", config: srv + "ignore_srv_lookup_error = yes\n", nexthop: "two.test:submission",
			want: "5.4.4 bounced " + notFound + "name=_submission._tcp.two.test type=SRV: Host not found"},
		{name: "best SRV", config: srv, nexthop: "selfsrv.test:25", want: "5.4.6 bounced mail for _25._tcp.selfsrv.test loops back to myself"},
		{name: "backup SRV", config: srv, nexthop: "backupsrv.test:25", want: "first.self.test[192.0.2.21]:2005"},
		{name: "not a name", nexthop: "-bad-.test", want: "5.4.4 bounced Name service error for -bad-.test: invalid host or domain name"},
		{name: "DNS disabled", config: "disable_dns_lookups = yes", nexthop: "localhost:26", want: "localhost[127.0.0.1]:26"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged logLines
			a := newTestAgent(t, baseConfig+all+test.config+"\n", false, &logged)
			a.own = append(a.own, netip.MustParseAddr("203.0.113.1"))
			found, failed := a.destination(context.Background(), test.nexthop)
			list := found.servers
			got := ""
			if failed != nil {
				got = fmt.Sprintf("%s %s %s", failed.Enhanced, map[deliver.Action]string{deliver.Deferred: "deferred", deliver.Bounced: "bounced"}[failed.Action], failed.Text)
				if failed.Dead != (failed.Action == deliver.Deferred) {
					t.Errorf("dead is %v for %v", failed.Dead, failed)
				}
			} else {
				var names []string
				for _, s := range list[:min(len(list), max(a.set.MXAddressLimit, 1))] {
					names = append(names, s.relay)
				}
				got = strings.Join(names, " ")
				if test.name == "DNS disabled" { // whatever /etc/hosts says besides
					got = names[len(names)-1]
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if diff := cmp.Diff(test.log, logged.text()); diff != "" {
				t.Errorf("log: -want +got\n%s", diff)
			}
		})
	}
}

// Servers of equal preference share the mail.
func TestEqualPreferenceIsShuffled(t *testing.T) {
	server := dnstest.New(t, zone)
	t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
	a := newTestAgent(t, baseConfig, false, new(logLines))
	first := map[string]int{}
	for range 100 {
		found, failed := a.destination(context.Background(), "equal.test")
		list := found.servers
		if failed != nil || len(list) != 3 {
			t.Fatalf("%v %v", list, failed)
		}
		first[list[0].host]++
	}
	if got := slices.Sorted(maps.Keys(first)); len(got) != 3 {
		t.Errorf("only %v come first", got)
	}
}

// SRV records of equal priority are chosen by weight; those of weight 0 are there for the rest.
func TestSRVWeights(t *testing.T) {
	records := []dns.SRV{
		{Target: "heavy", Priority: 1, Weight: 90}, {Target: "light", Priority: 1, Weight: 10}, {Target: "none", Priority: 1}, {Target: "backup", Priority: 2, Weight: 1000},
	}
	first := map[string]int{}
	for range 1000 {
		ordered := byWeight(records)
		if len(ordered) != 4 || ordered[3].Target != "backup" {
			t.Fatalf("%v", ordered)
		}
		first[ordered[0].Target]++
	}
	if first["heavy"] < 800 || first["light"] < 30 || first["none"] > 50 {
		t.Errorf("%v come first", first)
	}
}

// LMTP never looks for MX records.
func TestLMTPDestination(t *testing.T) {
	server := dnstest.New(t, zone)
	t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
	a := newTestAgent(t, baseConfig, true, new(logLines))
	for nexthop, want := range map[string]string{
		"nomx.test":              "nomx.test[192.0.2.3]:24",
		"inet:nomx.test:2003":    "nomx.test[192.0.2.3]:2003",
		"inet:[192.0.2.5]:lmtp":  "192.0.2.5[192.0.2.5]:24",
		"unix:/run/lmtp":         "mail.example.org[/run/lmtp]",
		"unix:private/lmtp":      "mail.example.org[/var/spool/postfix/private/lmtp]",
		"two.test":               "",
		"[two.test]:2003":        "",
		"inet:[IPv6:2001:db8::7": "",
	} {
		found, failed := a.destination(context.Background(), nexthop)
		list := found.servers
		got := ""
		if failed == nil {
			got = list[0].relay
		}
		if got != want {
			t.Errorf("%s: %q, want %q", nexthop, got, want)
		}
	}
	if n := server.Asked("two.test"); n > 2 { // A, twice
		t.Errorf("%d questions about two.test", n)
	}
}

// deliverTo runs one delivery and returns its results as lines.
func deliverTo(t testing.TB, a *Agent, d *dialogue, nexthop string) string {
	t.Helper()
	m, content := queued(t, d)
	r := &deliver.Request{Message: m, Content: content, Nexthop: nexthop}
	for _, to := range m.Recipients {
		r.Recipients = append(r.Recipients, deliver.Recipient{Address: to.Address})
	}
	lines := make([]string, len(r.Recipients))
	a.Deliver(context.Background(), r, func(i int, s deliver.Status) {
		lines[i] += fmt.Sprintf("%s relay=%s dsn=%s uses=%d dead=%v (%s)\n", d.to[i], s.Relay, s.Enhanced, s.Uses, s.Dead, s.Text)
	})
	return strings.Join(lines, "")
}

func simple(to ...string) *dialogue {
	return &dialogue{name: "simple", from: "sender@example.org", to: to, arc: emptyArchive}
}

// A next hop that fails for good does not make mail bounce if another one may work later,
// and neither does one that can only be a mistake.
func TestListOfNexthops(t *testing.T) {
	server := dnstest.New(t, zone)
	server.Fail("servfail.test", mdns.RcodeServerFailure)
	t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
	nobody := "[127.0.0.1]:" + unusedPort(t)
	for _, test := range []struct{ name, config, nexthop, want, log string }{
		{
			name: "unreachable, then unknown", nexthop: nobody + ", nxdomain.test",
			want: "4.4.1", log: "connect to",
		},
		{name: "unknown, then unreachable", nexthop: "nxdomain.test " + nobody, want: "4.4.1", log: "connect to"},
		{name: "unknown twice", nexthop: "nxdomain.test,gone.test", want: "5.4.4", log: "no MX host"},
		{
			name: "relayhost unknown", config: "relayhost = nxdomain.test", nexthop: "nxdomain.test",
			want: "4.3.5", log: "warning: relayhost configuration problem",
		},
		{
			name: "fallback unknown", config: "smtp_fallback_relay = nxdomain.test", nexthop: nobody,
			want: "4.4.1", log: "warning: smtp_fallback_relay configuration problem",
		},
		{
			name: "both unknown", config: "smtp_fallback_relay = [nxdomain.test]", nexthop: "gone.test",
			want: "4.3.5", log: "warning: smtp_fallback_relay configuration problem",
		},
		{name: "loop goes to no fallback", config: "smtp_fallback_relay = " + nobody, nexthop: "loop.test", want: "5.4.6"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged logLines
			a := newTestAgent(t, baseConfig+test.config+"\n", false, &logged)
			defer a.Close()
			a.own = append(a.own, netip.MustParseAddr("203.0.113.1"))
			got := deliverTo(t, a, simple("a"), test.nexthop)
			if !strings.Contains(got, "dsn="+test.want+" ") || strings.Count(got, "\n") != 1 {
				t.Errorf("got %s", got)
			}
			if !strings.Contains(logged.text(), test.log) {
				t.Errorf("no %q in the log:\n%s", test.log, logged.text())
			}
		})
	}
}

// TestMXInTurn delivers by MX records to servers on the loopback.
func TestMXInTurn(t *testing.T) {
	first := startScripted(t, "tcp", "127.0.0.2:0", "RCPT TO:<b -> 450 4.2.1 later\nRCPT TO:<c -> 550 5.1.1 never")
	second := startScripted(t, "tcp", "127.0.0.3:"+first.port(), "")
	server := dnstest.New(t, `
d.test. IN MX 10 first.d.test.
d.test. IN MX 20 second.d.test.
first.d.test. IN A 127.0.0.2
second.d.test. IN A 127.0.0.3
`)
	t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
	a := newTestAgent(t, baseConfig, false, new(logLines))
	defer a.Close()
	got := strings.ReplaceAll(deliverTo(t, a, simple("a", "b", "c"), "d.test:"+first.port()), first.port(), "PORT")
	want := `a relay=first.d.test[127.0.0.2]:PORT dsn=2.0.0 uses=1 dead=false (250 2.0.0 Ok: queued)
b relay=second.d.test[127.0.0.3]:PORT dsn=2.0.0 uses=1 dead=false (250 2.0.0 Ok: queued)
c relay=first.d.test[127.0.0.2]:PORT dsn=5.1.1 uses=1 dead=false (host first.d.test[127.0.0.2] said: 550 5.1.1 never (in reply to RCPT TO command))
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if strings.Contains(second.transcript(), "<a@") || strings.Contains(second.transcript(), "<c@") {
		t.Errorf("the second server was told\n%s", second.transcript())
	}
}

// No more servers are tried than the limits allow.
func TestServerLimits(t *testing.T) {
	var servers []*scripted
	var zone strings.Builder
	port := "0"
	for i := range 6 {
		s := startScripted(t, "tcp", fmt.Sprintf("127.0.0.%d:%s", 10+i, port), "RCPT -> 450 4.2.1 later")
		port = s.port()
		servers = append(servers, s)
		fmt.Fprintf(&zone, "d.test. IN MX %d mx%d.d.test.\nmx%d.d.test. IN A 127.0.0.%d\n", i, i, i, 10+i)
	}
	server := dnstest.New(t, zone.String())
	t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
	for config, want := range map[string]int{
		"":                            2, // smtp_mx_session_limit
		"smtp_mx_session_limit = 0\n": 5, // smtp_mx_address_limit
		"smtp_mx_session_limit = 0\nsmtp_mx_address_limit = 0\n":   6,
		"smtp_mx_session_limit = 3\nsmtp_mx_address_limit = 100\n": 3,
	} {
		before := 0
		for _, s := range servers {
			before += s.connections()
		}
		a := newTestAgent(t, baseConfig+config, false, new(logLines))
		deliverTo(t, a, simple("a"), "d.test:"+port)
		a.Close()
		got := -before
		for _, s := range servers {
			got += s.connections()
		}
		if got != want {
			t.Errorf("%q: %d servers were tried, want %d", config, got, want)
		}
	}
}

// smtp_host_lookup=native reads /etc/hosts.
func TestNativeLookup(t *testing.T) {
	server := dnstest.New(t, "")
	t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
	if hosts, err := os.ReadFile("/etc/hosts"); err != nil || !strings.Contains(string(hosts), "localhost") {
		t.Fatalf("/etc/hosts has no localhost: %v", err)
	}
	for lookup, ok := range map[string]bool{"dns": false, "native": true, "dns, native": true} {
		a := newTestAgent(t, baseConfig+"smtp_host_lookup = "+lookup+"\n", false, new(logLines))
		_, failed := a.destination(context.Background(), "[localhost]:26")
		if (failed == nil) != ok {
			t.Errorf("%s: %v", lookup, failed)
		}
	}
}
