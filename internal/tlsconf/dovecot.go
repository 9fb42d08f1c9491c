package tlsconf

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Dovecot returns the TLS configuration of a service of dovecot.conf; nil when
// there is to be none (ssl = no, or no certificate). The certificate follows the name
// that the client asks for (local_name) and the addresses (local, remote).
//
// With ssl_verify_client_cert clients are asked for certificates, and those with a wrong one are refused.
func Dovecot(cfg *dovecot.Config, filter dovecot.Filter) (*tls.Config, error) {
	return forClients(cfg, filter, refuseWrong)
}

// DovecotLogin is the same for login services, which look at the certificates of their clients themselves: with a
// wrong one a client has none.
func DovecotLogin(cfg *dovecot.Config, filter dovecot.Filter) (*tls.Config, error) {
	return forClients(cfg, filter, func(*tls.Config, *ClientVerifier) {})
}

// refuseWrong has a handshake fail if the client's certificate is wrong.
func refuseWrong(config *tls.Config, v *ClientVerifier) {
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		return v.Verify(cs.PeerCertificates, time.Now())
	}
}

func forClients(cfg *dovecot.Config, filter dovecot.Filter, verify func(*tls.Config, *ClientVerifier)) (*tls.Config, error) {
	ssl, err := dovecot.Get[dovecot.SSL](cfg, filter)
	if err != nil || ssl.SSL == "no" || ssl.Cert == "" {
		return nil, err
	}
	c := &perClient{cfg: cfg, filter: filter, verify: verify, bySettings: make(map[dovecot.SSL]*tls.Config)}
	config, err := c.make(ssl)
	if err == nil {
		config.GetConfigForClient = c.config
	}
	return config, err
}

// perClient keeps one TLS configuration for all clients with the same settings.
type perClient struct {
	cfg    *dovecot.Config
	filter dovecot.Filter
	verify func(*tls.Config, *ClientVerifier) // what to do about certificates, where clients are asked for them

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
	return p.make(ssl)
}

// make makes the configuration for settings, and keeps it.
func (p *perClient) make(ssl *dovecot.SSL) (*tls.Config, error) {
	params := dovecotParams(ssl)
	v, err := NewClientVerifier(ssl)
	if err != nil {
		return nil, err
	}
	if v != nil {
		params.ClientCert, params.CAPEM = AskClientCert, []byte(ssl.CA)
	}
	c, err := Server(params)
	if err != nil {
		return nil, err
	}
	if v != nil {
		p.verify(c, v)
	}
	p.bySettings[*ssl] = c
	return c, nil
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
