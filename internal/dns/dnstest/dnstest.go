// Package dnstest is a name server for tests. It serves the records of a zone
// file, on a free port of the loopback interface, over UDP and TCP:
//
//	server := dnstest.New(t, `
//	example.com.     IN MX   10 mx.example.com.
//	mx.example.com.  IN A    192.0.2.1
//	`)
//	t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
//
// Names below a name of the zone text exist only if they are in it: a name
// with records of other types gives no data, any other name NXDOMAIN. CNAMEs
// are followed. [Server.Fail] makes a name fail, [Server.Misbehave] makes the server
// itself go wrong, [Server.Secure] makes answers look validated by DNSSEC.
package dnstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// A Server is a running name server. It stops with its test.
type Server struct {
	Addr       string // host:port
	ResolvConf string // path of a resolv.conf that names it

	mu      sync.Mutex
	records map[string][]dns.RR // by lower case name
	fail    map[string]int      // rcode
	faults  map[string]Fault
	secure  bool     // all answers look validated
	signed  []string // or those about these names and what is below them
	asked   map[string]int
}

// New starts a server with the records of a zone text. Owner names must be
// complete; the TTL is 300 unless a line says otherwise.
func New(t testing.TB, zone string) *Server {
	t.Helper()
	udp, tcp := listen(t)
	return serve(t, zone, udp, tcp)
}

// NewOnPort53 is New for programs that look for name servers nowhere else: the server has
// an address of its own, of the loopback network. Only root may do that.
func NewOnPort53(t testing.TB, zone string) *Server {
	t.Helper()
	var err error
	for range 20 {
		addr := fmt.Sprintf("127.%d.%d.%d:53", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
		var udp net.PacketConn
		var tcp net.Listener
		if udp, tcp, err = listenAt(addr); err == nil {
			return serve(t, zone, udp, tcp)
		}
	}
	t.Fatal(err)
	return nil
}

func serve(t testing.TB, zone string, udp net.PacketConn, tcp net.Listener) *Server {
	t.Helper()
	s := &Server{fail: make(map[string]int), faults: make(map[string]Fault), asked: make(map[string]int)}
	if err := s.load(zone); err != nil {
		t.Fatal(err)
	}
	s.Addr = udp.LocalAddr().String()
	for _, server := range []*dns.Server{{PacketConn: udp, Handler: s}, {Listener: tcp, Handler: s}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		done := make(chan error, 1)
		go func() { done <- server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			server.Shutdown() //nolint:errcheck // the test is over
			<-done
		})
	}
	host, port, _ := net.SplitHostPort(s.Addr)
	s.ResolvConf = filepath.Join(t.TempDir(), "resolv.conf")
	conf := fmt.Sprintf("nameserver [%s]:%s\noptions timeout:2 attempts:1\n", host, port)
	if err := os.WriteFile(s.ResolvConf, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// listen returns sockets of the same free port.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		if udp, tcp, err := listenAt("127.0.0.1:0"); err == nil {
			return udp, tcp
		}
	}
	t.Fatal("dnstest: no port is free for both UDP and TCP")
	return nil, nil
}

func (s *Server) load(zone string) error {
	records := make(map[string][]dns.RR)
	p := dns.NewZoneParser(strings.NewReader(zone), ".", "zone")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := strings.ToLower(rr.Header().Name)
		records[name] = append(records[name], rr)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("dnstest: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = records
	return nil
}

// Replace puts another zone text in place of that of before.
func (s *Server) Replace(t testing.TB, zone string) {
	t.Helper()
	if err := s.load(zone); err != nil {
		t.Fatal(err)
	}
}

// Fail makes every question about name fail with a code such as
// [dns.RcodeServerFailure]; 0 ends that.
func (s *Server) Fail(name string, rcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[strings.ToLower(dns.Fqdn(name))] = rcode
}

// Secure sets whether answers claim to be validated.
func (s *Server) Secure(secure bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secure = secure
}

// SecureBelow makes answers about a domain claim to be validated. Those about the root always do: programs ask for it to
// find out whether anything is.
func (s *Server) SecureBelow(domain string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed = append(s.signed, strings.ToLower(dns.Fqdn(domain)))
}

func (s *Server) validated(name string) bool {
	return s.secure || name == "." || slices.ContainsFunc(s.signed, func(domain string) bool { return dns.IsSubDomain(domain, name) })
}

// Asked returns how many questions there were about name.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[strings.ToLower(dns.Fqdn(name))]
}

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	s.mu.Lock()
	s.answer(m, q.Question[0])
	m.AuthenticatedData = s.validated(strings.ToLower(q.Question[0].Name))
	fault := s.faults[strings.ToLower(q.Question[0].Name)]
	s.mu.Unlock()
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(opt.UDPSize(), false)
		size = int(opt.UDPSize())
	}
	if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
		m.Truncate(size)
	}
	write(w, m, fault)
}

// answer fills in the records for a question, following CNAMEs.
func (s *Server) answer(m *dns.Msg, q dns.Question) {
	name := strings.ToLower(q.Name)
	s.asked[name]++
	if m.Rcode = s.fail[name]; m.Rcode != 0 {
		return
	}
	for range 8 {
		all, exists := s.records[name]
		if !exists && len(m.Answer) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		next := ""
		for _, rr := range all {
			switch c, isCNAME := rr.(*dns.CNAME); {
			case rr.Header().Rrtype == q.Qtype:
				m.Answer = append(m.Answer, rr)
			case isCNAME:
				m.Answer = append(m.Answer, rr)
				if s.faults[name] != NoRecursion {
					next = strings.ToLower(c.Target)
				}
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if m.Rcode != 0 || len(m.Answer) == 0 {
		m.Ns = append(m.Ns, soa)
	}
}

// soa lets resolvers remember for a minute that there is nothing.
var soa, _ = dns.NewRR(". 60 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60")
