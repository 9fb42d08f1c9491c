package tlsserver

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A Handshake is one that is to be done.
type Handshake struct {
	Conn        net.Conn
	Client      string        // in log lines: name[address]
	Timeout     time.Duration // for all of it
	RequireCert bool          // say why a certificate is not trusted

	ctx      context.Context
	server   *Server
	material *material
	sni      string                // the name that decided
	schemes  []tls.SignatureScheme // of the client, in its order
	leaf     *x509.Certificate     // of the server
}

// configFor chooses the certificates by the client's first message.
func (h *Handshake) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	config := h.server.config()
	config.ClientCAs = h.material.asked
	// Not for all configurations: crypto/tls would hold certificates with keys on other curves unfit, unlike OpenSSL.
	config.CurvePreferences = h.server.p.Curves
	chains := h.material.chains
	if named, err := h.named(hello.ServerName); err != nil {
		return nil, err
	} else if named != nil {
		chains, h.sni = named, hello.ServerName
	}
	chain := &chains[0]
	for i := range chains {
		if hello.SupportsCertificate(&chains[i]) == nil {
			chain = &chains[i]
			break
		}
	}
	h.leaf, h.schemes = leafOf(chain), hello.SignatureSchemes
	config.Certificates = []tls.Certificate{*chain}
	return config, nil
}

func leafOf(chain *tls.Certificate) *x509.Certificate {
	if chain.Leaf != nil {
		return chain.Leaf
	}
	leaf, err := x509.ParseCertificate(chain.Certificate[0])
	if err != nil {
		return nil
	}
	return leaf
}

// errSNI ends a handshake when the table cannot be asked: another certificate would be a wrong one.
var errSNI = errors.New("tls_server_sni_maps cannot be asked")

// named looks for the chains of a name, or of a domain that it is in (".example.com"); nil if there are none.
func (h *Handshake) named(name string) ([]tls.Certificate, error) {
	maps, log := h.server.p.SNI, h.server.p.Log
	if maps == nil || maps.Empty() || name == "" {
		return nil, nil
	}
	if smtp.HostnameError(name) != "" {
		log.Warningf("TLS SNI from %s is invalid: %s", h.Client, table.Printable(name))
		return nil, nil
	}
	for key := name; key != ""; key = parent(key) {
		text, found, err := maps.Lookup(h.ctx, key)
		if err != nil {
			log.Warningf("tls_server_sni_maps: %s map lookup problem", name)
			return nil, errSNI
		}
		if !found {
			continue
		}
		chains, err := parseChains(name, []byte(text))
		if err != nil {
			log.Warningf("error loading private keys and certificates from: %s: %v: aborting TLS handshake", name, err)
			return nil, errSNI
		}
		return chains, nil
	}
	log.Infof("TLS SNI %s from %s not matched, using default chain", name, h.Client)
	return nil, nil
}

// parent is ".c.d" for "a.c.d" and for ".b.c.d"; empty if there is none.
func parent(name string) string {
	i := strings.IndexByte(name[1:], '.')
	if i < 0 {
		return ""
	}
	return name[1+i:]
}

// session describes a session that was established.
func (h *Handshake) session(cs tls.ConnectionState) Session {
	s := h.server
	d := Session{Session: tlsconf.Describe(cs), SNI: h.sni, Reused: cs.DidResume}
	if cs.Version == tls.VersionTLS13 && h.leaf != nil {
		d.ServerKey = signatureOf(h.leaf.PublicKey, h.schemes, cs.DidResume)
	}
	if cs.DidResume && s.mask&logCache != 0 {
		s.p.Log.Infof("%s: Reusing old session (RFC 5077 session ticket)", h.Client)
	}
	if len(cs.PeerCertificates) > 0 {
		why := ""
		if d.Peer, why = s.judge(h.Client, cs.PeerCertificates); cs.Version == tls.VersionTLS13 {
			d.ClientKey = signatureOf(cs.PeerCertificates[0].PublicKey, nil, cs.DidResume)
		}
		h.logPeer(&d, why)
	}
	if s.mask&logSummary != 0 {
		s.p.Log.Infof("%s", d.summary(h.Client))
	}
	return d
}

// logPeer tells of a client certificate what the log level asks for.
func (h *Handshake) logPeer(d *Session, why string) {
	s, p := h.server, &d.Peer
	if s.mask&logVerbose != 0 {
		s.p.Log.Infof("subject=%s", oneLine(p.Cert.Subject))
		s.p.Log.Infof("issuer=%s", oneLine(p.Cert.Issuer))
	}
	if s.mask&(logVerbose|logPeer) != 0 {
		s.p.Log.Infof("%s: subject_CN=%s, issuer=%s, fingerprint=%s, pkey_fingerprint=%s", h.Client, p.Subject, p.Issuer, p.Fingerprint, p.KeyFingerprint)
	}
	if p.Trusted || s.mask&logUntrusted == 0 && !h.RequireCert {
		return
	}
	if d.Reused {
		s.p.Log.Infof("%s: re-using session with untrusted certificate, look for details earlier in the log", h.Client)
		return
	}
	s.p.Log.Info(strings.ReplaceAll(why, "CLIENT", h.Client))
}

// logFailure tells of a handshake that failed.
func (s *Server) logFailure(client string, err error) {
	var alert tls.AlertError
	switch {
	case errors.As(err, &alert):
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		s.p.Log.Infof("SSL_accept error from %s: Connection timed out", client)
		return
	case errors.Is(err, syscall.ECONNRESET):
		s.p.Log.Infof("SSL_accept error from %s: Connection reset by peer", client)
		return
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE):
		s.p.Log.Infof("SSL_accept error from %s: lost connection", client)
		return
	}
	s.p.Log.Infof("SSL_accept error from %s: -1", client)
	s.p.Log.Warningf("TLS library problem: %v", err)
}

// signatureOf describes the signatures that a key makes in TLS 1.3. With RSA the digest is the first that
// the other side accepts. A session that is resumed has none.
func signatureOf(key crypto.PublicKey, schemes []tls.SignatureScheme, resumed bool) tlsconf.Signature {
	digest := "SHA256"
	for _, scheme := range schemes {
		if name := pssDigests[scheme]; name != "" {
			digest = name
			break
		}
	}
	signature := tlsconf.SignatureOf(key, digest)
	if resumed {
		signature.Digest = ""
	}
	return signature
}

var pssDigests = map[tls.SignatureScheme]string{
	tls.PSSWithSHA256: "SHA256", tls.PSSWithSHA384: "SHA384", tls.PSSWithSHA512: "SHA512",
}
