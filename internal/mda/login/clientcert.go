package login

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A certificate is what is known of the certificate of a client. The zero value is a client without one.
type certificate struct {
	valid bool
	name  string // in the field of ssl_cert_username_field; only of a valid one
	wrong string // why it is not valid
}

// checkCertificate judges the certificate that the client sent, if it was asked for one and sent one. A wrong one ends
// nothing: the client has none then, as with Dovecot.
func (c *session) checkCertificate(cs tls.ConnectionState) {
	c.cert = certificate{}
	if len(cs.PeerCertificates) == 0 {
		return
	}
	v, err := c.srv.verifier(dovecot.Filter{Service: c.srv.service, Local: c.local.Addr(), Remote: c.remote.Addr(), LocalName: cs.ServerName})
	if err != nil {
		c.srv.log.Errorf("SSL certificate of client: %v", err)
	}
	if v == nil {
		return
	}
	leaf := cs.PeerCertificates[0]
	if err := v.Verify(cs.PeerCertificates, time.Now()); err != nil {
		c.cert.wrong = fmt.Sprintf("Received invalid SSL certificate: %v: %s (check ssl_ca setting?)", err, leaf.Subject)
		return
	}
	c.cert = certificate{valid: true, name: v.Username(leaf)}
}

// verifier returns what judges certificates of clients; nil where they are not asked for any. One is kept for each
// variant of the settings.
func (s *Server) verifier(f dovecot.Filter) (*tlsconf.ClientVerifier, error) {
	var ssl dovecot.SSL
	if err := s.Dovecot.Decode(f, &ssl); err != nil {
		return nil, err
	}
	if v, ok := s.verifiers.Load(ssl); ok {
		return v.(*tlsconf.ClientVerifier), nil
	}
	v, err := tlsconf.NewClientVerifier(&ssl)
	if err == nil {
		s.verifiers.Store(ssl, v)
	}
	return v, err
}

// certificate is that of the client, verified here or, where TLS ends there, by a load balancer.
func (c *session) certificate() certificate {
	if c.tlsConn == nil && c.header != nil && c.header.CertOK {
		return certificate{valid: true, name: c.header.CertCN}
	}
	return c.cert
}

// certRefused refuses a login whose user ought to be named by a certificate that names nobody.
func (c *session) certRefused() *failure {
	if !c.set.SSLUsernameFromCert || !c.set.SSLRequireClientCert || !c.certificate().valid || c.certificate().name != "" {
		return nil
	}
	c.log(maillog.Error, "Cannot get username from certificate: Missing username in certificate")
	c.failCode = client.CodeAuthzFail
	return &failure{failAuthz, textBadCert}
}

// certReason says in the log line of a disconnect what was wrong with the client's certificate, if
// that is why it could not log in.
func (c *session) certReason() string {
	switch {
	case !c.set.SSLRequireClientCert:
		return ""
	case c.tlsConn != nil && c.cert.wrong != "":
		return "(client sent an invalid cert)"
	case c.tlsConn != nil && !c.cert.valid:
		return "(client didn't send a cert)"
	case c.tlsConn == nil && c.attempts > 0 && !c.certificate().valid:
		return "(cert required, client didn't start TLS)"
	}
	return ""
}
