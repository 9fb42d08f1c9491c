package smtpd

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Names looks up host names; *[dns.Resolver] is one.
type Names interface {
	NativePTR(ctx context.Context, ip netip.Addr) (dns.Answer[string], error)
	NativeAddrs(ctx context.Context, name string, family dns.Family) (dns.Answer[netip.Addr], error)
	Addrs(ctx context.Context, name string, family dns.Family) (dns.Answer[netip.Addr], error)
	MX(ctx context.Context, name string) (dns.Answer[dns.MX], error)
	NS(ctx context.Context, name string) (dns.Answer[string], error)
	TXT(ctx context.Context, name string) (dns.Answer[string], error)
}

// clientInfo is what is known of the client.
type clientInfo struct {
	peer     netip.Addr // of the socket
	addr     netip.Addr // of the client, who may be behind a proxy (XCLIENT)
	addrText string
	port     string
	name     string // verified name, or "unknown"
	reverse  string // unverified name, or "unknown"
	status   nameStatus
	rstatus  nameStatus
	label    string // name[address], with :port if configured
	server   netip.AddrPort
}

// nameStatus says how a name lookup went.
type nameStatus uint8

const (
	nameOK     nameStatus = iota
	nameForged            // the name has other addresses
	nameTemp              // not known now
	namePerm              // there is none
)

const unknownName = "unknown"

// identify finds out who the client is.
func (s *session) identify() {
	c := &s.client
	c.addrText, c.port, c.name, c.reverse = unknownName, "0", unknownName, unknownName
	c.status, c.rstatus = namePerm, namePerm
	client, server, ok := s.endpoints()
	if ok {
		c.addr = client.Addr().Unmap().WithZone("")
		c.addrText = c.addr.String()
		c.port = strconv.Itoa(int(client.Port()))
	} else if s.conn.RemoteAddr() != nil && s.conn.RemoteAddr().Network() == "unix" {
		c.addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		c.addrText, c.name, c.reverse = "127.0.0.1", "localhost", "localhost"
		c.status, c.rstatus = nameOK, nameOK
	}
	c.peer = c.addr
	if server.IsValid() {
		c.server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	}
	if s.srv.set.PeernameLookup && s.srv.names != nil && c.addr.IsValid() && c.status != nameOK {
		s.lookupName()
	}
	s.setLabel()
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := tcp.AddrPort()
	return ap, ap.IsValid()
}

func (s *session) setLabel() {
	c := &s.client
	c.label = s.srv.label(c.name, c.addrText, c.port)
}

// label is how log lines name a client.
func (srv *Server) label(name, addr, port string) string {
	label := name + "[" + addr + "]"
	if srv.set.ClientPortLogging {
		label += ":" + port
	}
	return label
}

// lookupName finds the client's name, and checks that it has the client's
// address. Names that could fool a table of names or addresses are none.
func (s *session) lookupName() {
	c := &s.client
	answer, err := s.srv.names.NativePTR(s.ctx, c.addr)
	if err != nil || len(answer.Records) == 0 {
		if dns.Temporary(err) {
			c.status, c.rstatus = nameTemp, nameTemp
		}
		return
	}
	name := strings.TrimSuffix(answer.Records[0], ".")
	if why := smtp.HostnameError(name); why != "" {
		s.srv.log.Warningf("valid_hostname: %s: %.100s", why, name)
		return
	}
	c.reverse, c.rstatus = name, nameOK
	family := dns.IPv4
	if c.addr.Is6() {
		family = dns.IPv6
	}
	addrs, err := s.srv.names.NativeAddrs(s.ctx, name, family)
	if err != nil {
		c.status = namePerm
		if dns.Temporary(err) {
			c.status = nameTemp
		}
		s.srv.log.Warningf("hostname %s does not resolve to address %s: %v", name, c.addrText, err)
		return
	}
	for _, addr := range addrs.Records {
		if addr.Unmap() == c.addr {
			c.name, c.status = name, nameOK
			return
		}
	}
	c.status = nameForged
	s.srv.log.Warningf("hostname %s does not resolve to address %s", name, c.addrText)
}
