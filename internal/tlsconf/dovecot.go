package tlsconf

import (
	"crypto/tls"
	"net"
	"net/netip"
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
	c := &perClient{cfg: cfg, filter: filter, byCert: map[string]*tls.Config{ssl.Cert + ssl.Key: config}}
	config.GetConfigForClient = c.config
	return config, nil
}

// perClient keeps one TLS configuration per certificate.
type perClient struct {
	cfg    *dovecot.Config
	filter dovecot.Filter

	mu     sync.Mutex
	byCert map[string]*tls.Config
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
	key := ssl.Cert + ssl.Key
	if c, ok := p.byCert[key]; ok {
		return c, nil
	}
	c, err := Server(dovecotParams(ssl))
	if err == nil {
		p.byCert[key] = c
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
	p := Params{
		CertPEM: []byte(ssl.Cert), KeyPEM: []byte(ssl.Key),
		AltCertPEM: []byte(ssl.AltCert), AltKeyPEM: []byte(ssl.AltKey),
		MinProtocol: ssl.MinProtocol, CipherList: ssl.CipherList,
	}
	if ssl.VerifyClientCert {
		p.ClientCert, p.CAPEM = AskClientCert, []byte(ssl.CA)
	}
	return p
}
