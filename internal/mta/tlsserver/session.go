package tlsserver

import (
	"crypto"
	_ "crypto/md5"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A Session is what is known of an established session. Its zero value is plain text.
type Session struct {
	tlsconf.Session
	ServerKey, ClientKey tlsconf.Signature // of TLS 1.3
	SNI                  string            // that decided which certificate is shown
	Reused               bool
	Peer                 Peer
}

// A Peer is a client's certificate.
type Peer struct {
	Cert            *x509.Certificate // nil: none was presented
	Trusted         bool              // by the authorities of the configuration
	Subject, Issuer string            // common names; the issuer's organization where it has none
	Fingerprint     string            // of the certificate
	KeyFingerprint  string            // of its public key
}

// summary is the line that is logged of each session at level 1.
func (s *Session) summary(client string) string {
	word := "Anonymous"
	switch {
	case s.Peer.Trusted:
		word = "Trusted"
	case s.Peer.Cert != nil:
		word = "Untrusted"
	}
	to := ""
	if s.SNI != "" {
		to = " to " + s.SNI
	}
	b := fmt.Appendf(nil, "%s TLS connection established from %s%s: %s", word, client, to, s.Session)
	b = s.appendKeyExchange(b)
	b = s.ServerKey.Append(b, "server")
	return string(s.ClientKey.Append(b, "client"))
}

func (s *Session) appendKeyExchange(b []byte) []byte {
	switch {
	case s.ServerKey.Name == "" || s.Curve == "":
		return b // before TLS 1.3 OpenSSL does not tell
	case ecdhe[s.Curve] != "":
		return append(b, " key-exchange ECDHE ("+ecdhe[s.Curve]+")"...)
	}
	return append(b, " key-exchange "+s.Curve...)
}

var ecdhe = map[string]string{"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1"}

// AppendReceived adds the clauses of a Received header, each on a line of its own. asked says whether
// the client was asked for a certificate.
func (s *Session) AppendReceived(b []byte, asked bool) []byte {
	b = append(b, "\t(using "+s.Session.String()...)
	if s.ServerKey.Name != "" {
		b = append(b, "\r\n\t"...)
		b = s.appendKeyExchange(b)
		b = s.ServerKey.Append(b, "server")
	}
	if s.ClientKey.Name != "" {
		b = append(b, "\r\n\t"...)
		b = s.ClientKey.Append(b, "client")
	}
	b = append(b, ")\r\n"...)
	switch {
	case s.Peer.Cert != nil:
		verified := "not verified"
		if s.Peer.Trusted {
			verified = "verified OK"
		}
		return fmt.Appendf(b, "\t(Client CN \"%s\", Issuer \"%s\" (%s))\r\n", smtp.Comment(s.Peer.Subject), smtp.Comment(s.Peer.Issuer), verified)
	case asked:
		return append(b, "\t(Client did not present a certificate)\r\n"...)
	}
	return append(b, "\t(No client certificate requested)\r\n"...)
}

// digest is smtpd_tls_fingerprint_digest.
type digest crypto.Hash

var digests = map[string]crypto.Hash{
	"md5": crypto.MD5, "sha1": crypto.SHA1, "sha224": crypto.SHA224, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
}

func parseDigest(name string) (digest, error) {
	h, ok := digests[strings.ReplaceAll(strings.ToLower(name), "-", "")]
	if !ok {
		return 0, fmt.Errorf("digest algorithm %q not found: use md5, sha1, sha256, sha384 or sha512", name)
	}
	return digest(h), nil
}

// of is the digest in the form of tables: "0A:F1:...".
func (d digest) of(der []byte) string {
	h := crypto.Hash(d).New()
	h.Write(der) //nolint:errcheck // it never fails
	return strings.ReplaceAll(fmt.Sprintf("% X", h.Sum(nil)), " ", ":")
}

// judge looks at a chain that a client has presented. why is what Postfix logs when it is not trusted.
func (s *Server) judge(client string, chain []*x509.Certificate) (p Peer, why string) {
	leaf := chain[0]
	names := nameReader{log: s.p.Log, client: client}
	p = Peer{Cert: leaf, Subject: names.commonName(leaf.Subject), Issuer: names.issuer(leaf), Fingerprint: s.digest.of(leaf.Raw), KeyFingerprint: s.digest.of(leaf.RawSubjectPublicKeyInfo)}
	roots := s.files.Load().roots
	if roots == nil {
		roots = x509.NewCertPool()
	}
	opts := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: s.p.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return p, s.reason(chain, err)
	}
	for _, c := range chains {
		if len(c)-2 <= s.p.VerifyDepth {
			p.Trusted = true
			return p, ""
		}
	}
	return p, fmt.Sprintf("certificate verification failed for CLIENT: certificate chain longer than limit(%d)", s.p.VerifyDepth)
}

// reason says as Postfix does why a chain is not trusted; CLIENT stands for the client.
func (s *Server) reason(chain []*x509.Certificate, err error) string {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch {
		case invalid.Reason == x509.Expired && s.p.Now().Before(invalid.Cert.NotBefore):
			return "client certificate verification failed for CLIENT: certificate not yet valid"
		case invalid.Reason == x509.Expired:
			return "client certificate verification failed for CLIENT: certificate has expired"
		case invalid.Reason == x509.IncompatibleUsage:
			return "certificate verification failed for CLIENT: not designated for use as a client certificate"
		}
	}
	last := chain[len(chain)-1]
	if len(chain) == 1 && last.CheckSignatureFrom(last) == nil {
		return "certificate verification failed for CLIENT: self-signed certificate"
	}
	return "certificate verification failed for CLIENT: untrusted issuer " + oneLine(last.Issuer)
}

// oneLine is a name in the form "/O=Example/CN=Example CA".
func oneLine(n pkix.Name) string {
	var b strings.Builder
	for _, part := range n.Names {
		short := oidNames[part.Type.String()]
		if short == "" {
			short = part.Type.String()
		}
		fmt.Fprintf(&b, "/%s=%v", short, part.Value)
	}
	return table.Printable(b.String())
}

var oidNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.5": "serialNumber",
	"1.2.840.113549.1.9.1": "emailAddress", "0.9.2342.19200300.100.1.25": "DC",
}

// hashed are the names that OpenSSL looks for in a CApath.
var hashed = regexp.MustCompile(`^[0-9a-f]{8}\.[0-9]+$`)

// loadAuthorities reads the CAfile and the CApath.
func (s *Server) loadAuthorities(m *material, read func(string) ([]byte, error)) error {
	if s.p.CAFile == "" && s.p.CAPath == "" {
		return nil
	}
	m.roots = x509.NewCertPool()
	if s.p.DefaultCAs {
		if system, err := x509.SystemCertPool(); err == nil {
			m.roots = system
		}
	}
	if s.p.CAFile != "" {
		text, err := read(s.p.CAFile)
		if err != nil {
			return err
		}
		m.asked = x509.NewCertPool()
		if !m.roots.AppendCertsFromPEM(text) || !m.asked.AppendCertsFromPEM(text) {
			return fmt.Errorf("CAfile %s holds no certificate in PEM form", s.p.CAFile)
		}
	}
	if s.p.CAPath == "" {
		return nil
	}
	entries, err := os.ReadDir(s.p.CAPath)
	if err != nil {
		return fmt.Errorf("CApath: %w", err)
	}
	for _, e := range entries {
		if !hashed.MatchString(e.Name()) {
			continue
		}
		text, err := read(filepath.Join(s.p.CAPath, e.Name()))
		if err != nil {
			s.p.Log.Warningf("CApath: %v", err)
			continue
		}
		m.roots.AppendCertsFromPEM(text)
	}
	return nil
}
