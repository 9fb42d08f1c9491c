package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
)

const zone = `
example.com.       IN MX    20 b.example.com.
example.com.       IN MX    10 a.example.com.
example.com.       IN TXT   "v=spf1 " "-all"
a.example.com.     IN A     192.0.2.1
a.example.com.     IN A     192.0.2.2
b.example.com.     IN A     192.0.2.3
b.example.com.     IN AAAA  2001:db8::3
null.example.      IN MX    0 .
alias.example.     IN CNAME example.com.
broken.example.    IN CNAME nowhere.example.
_imap._tcp.example.com. IN SRV 5 1 143 a.example.com.
_25._tcp.a.example.com. IN TLSA 3 1 1 ABCD
1.2.0.192.in-addr.arpa. IN PTR a.example.com.
`

func newResolver(t *testing.T, server *dnstest.Server) *Resolver {
	t.Helper()
	hosts := filepath.Join(t.TempDir(), "hosts")
	text := "127.0.0.1 localhost\n192.0.2.9 Native.example native # comment\n2001:db8::9 native.example\n"
	if err := os.WriteFile(hosts, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{ResolvConf: server.ResolvConf, HostsFile: hosts})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLookups(t *testing.T) {
	r := newResolver(t, dnstest.New(t, zone))
	ctx := t.Context()
	addr := netip.MustParseAddr
	check := func(name string, got, want any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	mx, err := r.MX(ctx, "Example.COM")
	check("MX", mx.Records, []MX{{"a.example.com", 10}, {"b.example.com", 20}}, err)
	if mx.Secure || mx.TTL <= 299*time.Second || mx.TTL > 300*time.Second {
		t.Errorf("MX: %+v", mx)
	}
	mx, err = r.MX(ctx, "alias.example")
	check("MX of an alias", mx.Records, []MX{{"a.example.com", 10}, {"b.example.com", 20}}, err)
	if mx.Name != "example.com" {
		t.Errorf("name behind the alias is %q", mx.Name)
	}
	mx, err = r.MX(ctx, "null.example")
	check("null MX", mx.Records, []MX{{"", 0}}, err)
	a, err := r.Addrs(ctx, "b.example.com", Any)
	check("both families", a.Records, []netip.Addr{addr("2001:db8::3"), addr("192.0.2.3")}, err)
	a, err = r.Addrs(ctx, "a.example.com", Any)
	check("one family", a.Records, []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")}, err)
	a, err = r.NativeAddrs(ctx, "native.example", IPv4)
	check("hosts file", a.Records, []netip.Addr{addr("192.0.2.9")}, err)
	a, err = r.NativeAddrs(ctx, "b.example.com", IPv6)
	check("not in the hosts file", a.Records, []netip.Addr{addr("2001:db8::3")}, err)
	names, err := r.PTR(ctx, addr("::ffff:192.0.2.1"))
	check("PTR", names.Records, []string{"a.example.com"}, err)
	names, err = r.NativePTR(ctx, addr("192.0.2.9"))
	check("native PTR", names.Records, []string{"Native.example"}, err)
	txt, err := r.TXT(ctx, "example.com.")
	check("TXT", txt.Records, []string{"v=spf1 -all"}, err)
	srv, err := r.SRV(ctx, "_imap._tcp.example.com")
	check("SRV", srv.Records, []SRV{{"a.example.com", 143, 5, 1}}, err)
	tlsa, err := r.TLSA(ctx, "_25._tcp.a.example.com")
	check("TLSA", tlsa.Records, []TLSA{{3, 1, 1, "abcd"}}, err)
}

func TestErrors(t *testing.T) {
	server := dnstest.New(t, zone)
	server.Fail("fail.example", dns.RcodeServerFailure)
	server.Fail("refused.example", dns.RcodeRefused)
	r := newResolver(t, server)
	tests := []struct {
		name string
		want error
		text string
	}{
		{"nosuch.example", ErrNXDomain, "Name service error for name=nosuch.example type=MX: Host not found"},
		{"a.example.com", ErrNoData, "Name service error for name=a.example.com type=MX: Host found but no data record of requested type"},
		{"broken.example", ErrNXDomain, "Name service error for name=nowhere.example type=MX: Host not found"},
		{"fail.example", ErrTryAgain, "Name service error for name=fail.example type=MX: Host not found, try again"},
		{"refused.example", ErrTryAgain, ""},
		{"two..dots", ErrNXDomain, ""},
		{strings.Repeat("a", 64) + ".example", ErrNXDomain, ""},
		{strings.Repeat("a.", 200) + "example", ErrNXDomain, ""},
	}
	for _, test := range tests {
		_, err := r.MX(t.Context(), test.name)
		if !errors.Is(err, test.want) || Temporary(err) != (test.want == ErrTryAgain) {
			t.Errorf("MX(%q) = %v, want %v", test.name, err, test.want)
		}
		if test.text != "" && err != nil && err.Error() != test.text {
			t.Errorf("MX(%q): text %q", test.name, err)
		}
	}
}

func TestCacheAndSecure(t *testing.T) {
	server := dnstest.New(t, zone)
	server.Secure(true)
	r := newResolver(t, server)
	for range 5 {
		if a, err := r.MX(t.Context(), "example.com"); err != nil || !a.Secure {
			t.Errorf("%+v, %v", a, err)
		}
		r.MX(t.Context(), "nosuch.example") //nolint:errcheck // it is the questions that count
	}
	for _, name := range []string{"example.com", "nosuch.example"} {
		if n := server.Asked(name); n != 1 {
			t.Errorf("%s was asked for %d times", name, n)
		}
	}
}

// TestTruncated has an answer that fits no datagram.
func TestTruncated(t *testing.T) {
	var zone strings.Builder
	for i := range 200 {
		fmt.Fprintf(&zone, "big.example. IN A 192.0.2.%d\n", i)
	}
	r := newResolver(t, dnstest.New(t, zone.String()))
	if a, err := r.Addrs(t.Context(), "big.example", IPv4); err != nil || len(a.Records) != 200 {
		t.Errorf("%d records, %v", len(a.Records), err)
	}
}

// TestNextServer has a first server that does not answer.
func TestNextServer(t *testing.T) {
	dead := dnstest.New(t, zone)
	dead.Fail("example.com", dns.RcodeServerFailure)
	live := dnstest.New(t, zone)
	host, port, _ := strings.Cut(dead.Addr, ":")
	conf := fmt.Sprintf("nameserver [%s]:%s\n", host, port)
	host, port, _ = strings.Cut(live.Addr, ":")
	conf += fmt.Sprintf("nameserver [%s]:%s\noptions timeout:1 attempts:1\n", host, port)
	if err := os.WriteFile(dead.ResolvConf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newResolver(t, dead)
	if _, err := r.MX(t.Context(), "example.com"); err != nil || live.Asked("example.com") != 1 {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	c, err := parseConfig("# x\nsearch a b\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions ndots:2 timeout:3 attempts:9\nnameserver [127.0.0.1]:5353\n")
	want := &config{servers: []string{"192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.1:5353"}, timeout: 3 * time.Second, attempts: 5}
	if d := cmp.Diff(want, c, cmp.AllowUnexported(config{})); err != nil || d != "" {
		t.Error(err, d)
	}
	for _, bad := range []string{"foo", "[127.0.0.1]", "[127.0.0.1]:", "[127.0.0.1]:0", "[127.0.0.1]:65536", "[127.0.0.1]:domain", "[foo]:53"} {
		if _, err := parseConfig("nameserver " + bad + "\n"); err == nil {
			t.Errorf("address %s was accepted", bad)
		}
	}
}

// A configuration that was read can be asked: its servers are addresses, its limits those of resolv.conf(5).
func FuzzConfig(f *testing.F) {
	f.Add("# x\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\noptions ndots:2 timeout:99 attempts:9\nnameserver [::1]:5353\n")
	f.Add("options timeout:-1 attempts:0 timeout:99999999999999999999\n")
	f.Add("nameserver [127.0.0.1]:99999\nnameserver [::1%a]b]:53")
	f.Add("nameserver 0000::0%]")
	f.Add("nameserver [fe80::1%eth0]:053")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig(text)
		if err != nil {
			return
		}
		if len(c.servers) < 1 || len(c.servers) > maxServers || c.timeout < time.Second || c.timeout > maxTimeout*time.Second || c.attempts < 1 || c.attempts > maxAttempts {
			t.Errorf("%q: %+v", text, c)
		}
		for _, server := range c.servers {
			addr, err := netip.ParseAddrPort(server)
			if err != nil || addr.Port() == 0 {
				t.Errorf("%q: server %q, %v", text, server, err)
			}
			// Written again it is the same.
			again, err := parseConfig("nameserver [" + addr.Addr().String() + "]:" + strconv.Itoa(int(addr.Port())) + "\n")
			if err != nil || again.servers[0] != server && netip.MustParseAddrPort(again.servers[0]) != addr {
				t.Errorf("%q: server %q becomes %v, %v", text, server, again, err)
			}
		}
	})
}

func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost # x\n::1 a b\nbad line\n")
	f.Fuzz(func(t *testing.T, text string) {
		if h, err := parseHosts(text); err != nil || h == nil {
			t.Error(err)
		}
	})
}
