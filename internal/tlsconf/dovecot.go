package tlsconf

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Dovecot returns the TLS configuration of a service of dovecot.conf; nil when
// there is to be none (ssl = no, or no certificate). The certificate follows the name
// that the client asks for (local_name) and the addresses (local, remote).
func Dovecot(cfg *dovecot.Config, filter dovecot.Filter) (*tls.Config, error) {
	ssl, err := dovecot.Get[dovecot.SSL](cfg, filter)
	if err != nil || ssl.SSL == "no" || ssl.Cert == "" {
		return nil, err
	}
	config, err := Server(dovecotParams(ssl))
	if err != nil {
		return nil, err
	}
	c := &perClient{cfg: cfg, filter: filter, bySettings: map[dovecot.SSL]*tls.Config{*ssl: config}}
	config.GetConfigForClient = c.config
	return config, nil
}

// perClient keeps one TLS configuration for all clients with the same settings.
type perClient struct {
	cfg    *dovecot.Config
	filter dovecot.Filter

	mu         sync.Mutex
	bySettings map[dovecot.SSL]*tls.Config
}

func (p *perClient) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	f := p.filter
	f.LocalName = hello.ServerName
	f.Local, f.Remote = addrOf(hello.Conn.LocalAddr()), addrOf(hello.Conn.RemoteAddr())
	ssl, err := dovecot.Get[dovecot.SSL](p.cfg, f)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.bySettings[*ssl]; ok {
		return c, nil
	}
	c, err := Server(dovecotParams(ssl))
	if err == nil {
		p.bySettings[*ssl] = c
	}
	return c, err
}

// addrOf is the IP address of a network address, invalid if it has none.
func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func dovecotParams(ssl *dovecot.SSL) Params {
	return Params{
		CertPEM: []byte(ssl.Cert), KeyPEM: []byte(ssl.Key), KeyPassword: []byte(strings.TrimRight(ssl.KeyPassword, "\r\n")),
		AltCertPEM: []byte(ssl.AltCert), AltKeyPEM: []byte(ssl.AltKey),
		MinProtocol: ssl.MinProtocol, CipherList: ssl.CipherList, Curves: ssl.CurveList,
		NoTickets: slices.ContainsFunc(strings.FieldsFunc(ssl.Options, isListSeparator), isNoTicket),
	}
}

func isListSeparator(r rune) bool { return r == ' ' || r == ',' }

// isNoTicket is about a word of ssl_options. There never is compression.
func isNoTicket(option string) bool { return strings.EqualFold(option, "no_ticket") }
