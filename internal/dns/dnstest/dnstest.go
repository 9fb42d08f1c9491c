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
// are followed. [Server.Fail] makes a name fail, [Server.Secure] makes
// answers look validated by DNSSEC.
package dnstest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
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
	secure  bool
	asked   map[string]int
}

// New starts a server with the records of a zone text. Owner names must be
// complete; the TTL is 300 unless a line says otherwise.
func New(t testing.TB, zone string) *Server {
	t.Helper()
	s := &Server{fail: make(map[string]int), asked: make(map[string]int)}
	if err := s.load(zone); err != nil {
		t.Fatal(err)
	}
	udp, tcp := listen(t)
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
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return udp, tcp
		}
		tcp.Close()
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
	m.RecursionAvailable = true
	s.mu.Lock()
	s.answer(m, q.Question[0])
	m.AuthenticatedData = s.secure
	s.mu.Unlock()
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(opt.UDPSize(), false)
		size = int(opt.UDPSize())
	}
	if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
		m.Truncate(size)
	}
	w.WriteMsg(m) //nolint:errcheck // the client times out
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
				next = strings.ToLower(c.Target)
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
