package login

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// ProxySSL are the settings of TLS to the servers that sessions are relayed to. As in
// Dovecot, ssl_ca has the authorities: a login process cannot read the files that
// ssl_client_ca_file and ssl_client_ca_dir name.
type ProxySSL struct {
	CA               string `set:"ssl_ca" file:"yes" doc:"PEM authorities of client certificates, and of servers that logins are proxied to"`
	Cert             string `set:"ssl_client_cert" file:"yes" doc:"certificate for outgoing TLS"`
	Key              string `set:"ssl_client_key" file:"yes" doc:"key for outgoing TLS"`
	RequireCRL       bool   `set:"ssl_require_crl" default:"yes" doc:"fail certificates of which ssl_ca has no revocation list"`
	RequireValidCert bool   `set:"ssl_client_require_valid_cert" default:"yes" doc:"refuse invalid certificates of servers"`
	MinProtocol      string `set:"ssl_min_protocol" default:"TLSv1.2" doc:"lowest TLS version: SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3, LATEST, ANY"`
	CipherList       string `set:"ssl_cipher_list" default:"ALL:!kRSA:!SRP:!kDHd:!DSS:!aNULL:!eNULL:!EXPORT:!DES:!3DES:!MD5:!PSK:!RC4:!ADH:!LOW@STRENGTH" doc:"TLS 1.2 and older ciphers, OpenSSL syntax"`
	CurveList        string `set:"ssl_curve_list" doc:"elliptic curves, empty for auto"`
}

var _ = dovecot.Register("login", ProxySSL{})

// outgoingTLS is the configuration of TLS with host. Settings are looked up anew for each
// session, as those for the client are.
func (c *session) outgoingTLS(host string, anyCert bool) (*tls.Config, error) {
	var set ProxySSL
	f := dovecot.Filter{Service: c.srv.service, Local: c.local.Addr(), Remote: c.remote.Addr(), LocalName: c.localName}
	if err := c.srv.Dovecot.Decode(f, &set); err != nil {
		return nil, err
	}
	config, err := tlsconf.Client(tlsconf.Params{
		CertPEM: []byte(set.Cert), KeyPEM: []byte(set.Key), CAPEM: []byte(set.CA),
		MinProtocol: set.MinProtocol, CipherList: set.CipherList, Curves: set.CurveList,
		ServerName: host, NoVerify: true, // VerifyConnection does it
	})
	if err != nil {
		return nil, err
	}
	if anyCert || !set.RequireValidCert {
		return config, nil
	}
	roots := config.RootCAs
	if roots == nil {
		roots = x509.NewCertPool() // nobody is trusted, not whom the system trusts
	}
	lists, err := tlsconf.ParseRevocationLists([]byte(set.CA))
	if err != nil {
		return nil, err
	}
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		chain, err := verifyServer(cs.PeerCertificates, roots, host)
		if err != nil {
			return err
		}
		if cert, err := lists.Check(chain, set.RequireCRL, time.Now()); err != nil {
			return invalidCertificate(err, cert)
		}
		return nil
	}
	return config, nil
}

// verifyServer checks a server's certificates and that they are for host.
func verifyServer(chain []*x509.Certificate, roots *x509.CertPool, host string) ([]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("SSL certificate not received")
	}
	leaf := chain[0]
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return nil, invalidCertificate(err, leaf)
	}
	if !certificateFor(leaf, host) {
		return nil, fmt.Errorf("SSL certificate doesn't match expected host name %s", host)
	}
	return chains[0], nil
}

func invalidCertificate(err error, cert *x509.Certificate) error {
	return fmt.Errorf("Received invalid SSL certificate: %w: %s (check ssl_client_ca_* settings?)", err, cert.Subject)
}

// certificateFor reports whether a certificate is for host. As Dovecot, it takes the
// common name of one that has no other.
func certificateFor(cert *x509.Certificate, host string) bool {
	if cert.VerifyHostname(host) == nil {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err != nil && len(cert.DNSNames) == 0 && strings.EqualFold(cert.Subject.CommonName, host)
}

// handshakeError is what a failed handshake says, without what wraps it.
func handshakeError(err error) string {
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return verification.Err.Error()
	}
	return err.Error()
}
