package smtp

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A tlsClient is what all TLS sessions of an agent have in common.
type tlsClient struct {
	agent      *Config
	set        *Settings
	level      tlsLevel // where no policy says otherwise
	config     *tls.Config
	roots      *x509.CertPool
	anchors    pins     // in place of roots, if there are any
	insecureMX tlsLevel // at level dane, of hosts from an MX record without DNSSEC
	verbose    bool     // log each session
	policies   resolve.Maps
	sites      resolve.Maps // the older smtp_tls_per_site, asked where there are no policies

	versions, mandatory tlsconf.Versions // at level may, and above
	grades              *grades
}

func newTLSClient(c *Config, set *Settings, sh *shared) (*tlsClient, error) {
	t := &tlsClient{agent: c, set: set, verbose: set.TLSLogLevel != "" && set.TLSLogLevel != "0"}
	var err error
	if t.level, err = set.tlsLevel(c.Protocol); err != nil {
		return nil, err
	}
	if t.policies, err = c.Tables.OpenMaps(c.Protocol.prefix()+"tls_policy_maps", set.TLSPolicy); err != nil {
		return nil, err
	}
	if t.sites, err = c.Tables.OpenMaps(c.Protocol.prefix()+"tls_per_site", set.TLSPerSite); err != nil {
		return nil, err
	}
	if t.level == tlsNone && t.policies.Empty() && t.sites.Empty() {
		return t, nil
	}
	if t.grades, err = newGrades(c, set); err != nil {
		return nil, err
	}
	if t.insecureMX, err = set.insecureMX(); err != nil {
		return nil, err
	}
	if err := t.load(sh); err != nil {
		return nil, fmt.Errorf("client TLS configuration problem: %w", err)
	}
	return t, nil
}

// load reads certificates, keys and authorities.
func (t *tlsClient) load(sh *shared) error {
	// Trust is looked at after the handshake: what of it matters depends on the policy.
	config, err := tlsconf.Client(tlsconf.Params{NoVerify: true})
	if err != nil {
		return err
	}
	if t.versions, err = tlsconf.ParseVersions(t.set.TLSProtocols); err != nil {
		return err
	}
	if t.mandatory, err = tlsconf.ParseVersions(t.set.TLSMandatoryProtocols); err != nil {
		return err
	}
	t.config = config
	own := [][2]string{{t.set.TLSCertFile, t.set.TLSKeyFile}, {t.set.TLSECCertFile, t.set.TLSECKeyFile}}
	if chains := postfix.SplitList(t.set.TLSChainFiles); len(chains) > 0 {
		own = own[:0]
		for _, name := range chains {
			own = append(own, [2]string{name, name})
		}
	}
	for _, pair := range own {
		if err := t.addCertificate(pair[0], pair[1]); err != nil {
			return err
		}
	}
	for _, name := range postfix.SplitList(t.set.TLSTrustAnchors) {
		anchors, err := t.readAnchors(name)
		if err != nil {
			return err
		}
		t.anchors = append(t.anchors, anchors...)
	}
	t.roots = x509.NewCertPool()
	if sh.AppendDefault {
		if system, err := x509.SystemCertPool(); err == nil {
			t.roots = system
		}
	}
	if err := t.addAuthorities(t.set.TLSCAFile); err != nil {
		return err
	}
	if t.set.TLSCAPath == "" {
		return nil
	}
	names, err := filepath.Glob(filepath.Join(t.set.TLSCAPath, "*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if content, err := os.ReadFile(name); err == nil {
			t.roots.AppendCertsFromPEM(content)
		}
	}
	return nil
}

func (t *tlsClient) addCertificate(certFile, keyFile string) error {
	if certFile == "" {
		return nil
	}
	cert, err := t.agent.ReadFile(certFile)
	if err != nil {
		return err
	}
	key, err := t.agent.ReadFile(keyFile)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s: %w", certFile, err)
	}
	t.config.Certificates = append(t.config.Certificates, pair)
	return nil
}

func (t *tlsClient) addAuthorities(name string) error {
	if name == "" {
		return nil
	}
	content, err := t.agent.ReadFile(name)
	if err != nil {
		return err
	}
	if !t.roots.AppendCertsFromPEM(content) {
		return fmt.Errorf("%s holds no certificate in PEM form", name)
	}
	return nil
}

// tlsState is what is known of a session's TLS.
type tlsState struct {
	conn     *tls.Conn // nil in plain text
	verified bool      // the server proved the name that the policy asks for
}

// errHandshake is a failed TLS handshake.
var errHandshake = errors.New("TLS handshake failed")

// startTLS secures the session, as far as policy and server want it.
func (s *session) startTLS(policy *tlsPolicy) (*deliver.Status, error) {
	if policy.level == tlsNone {
		if s.ext&extStartTLS != 0 && s.agent.set.TLSNoteOffer {
			s.agent.log.Infof("Host offered STARTTLS: [%s]", s.server.host)
		}
		return nil, nil
	}
	if s.ext&extStartTLS == 0 {
		if policy.level == tlsMay {
			return nil, nil
		}
		return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 4}, "TLS is required, but was not offered by host "+s.server.name), nil
	}
	reply, err := s.ask("STARTTLS", s.agent.set.TLSTimeout)
	if err != nil {
		return s.lost(err, "receiving the STARTTLS response"), nil
	}
	if reply.code/100 != 2 {
		s.ext &^= extStartTLS
		if policy.level == tlsMay {
			return nil, nil
		}
		return s.rejected(&reply, "TLS is required, but host "+s.server.name+" refused to start TLS: "+reply.String()), nil
	}
	return s.handshake(policy)
}

// handshake makes the connection a TLS one; what was buffered in plain text is dropped.
func (s *session) handshake(policy *tlsPolicy) (*deliver.Status, error) {
	config := s.agent.tls.config.Clone()
	config.MinVersion, config.MaxVersion = policy.versions.Lowest, policy.versions.Highest
	config.ServerName, config.CipherSuites, config.CurvePreferences = policy.serverName, policy.ciphers, s.agent.tls.grades.curves
	conn := tls.Client(s.conn, config)
	s.arm(s.agent.set.TLSTimeout)
	if err := conn.Handshake(); err != nil {
		s.logHandshake(err)
		return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 5}, "Cannot start TLS: handshake failure"), errHandshake
	}
	s.conn, s.tls.conn = conn, conn
	s.r.Reset(conn, s.agent.shared.LineLengthLimit)
	s.armed = time.Time{}
	state := conn.ConnectionState()
	trust, problem := s.trust(policy, state.PeerCertificates)
	if problem != "" && policy.level.authenticates() && (s.agent.tls.verbose || s.agent.trace != nil) {
		s.agent.log.Info(problem)
	}
	s.agent.trace.certificate(s, policy, &state, problem)
	if s.agent.tls.verbose {
		s.agent.log.Infof("%s TLS connection established to %s: %s%s", trust, s.server.relay, tlsconf.Describe(state), keyDetails(&state))
	}
	s.tls.verified = problem == "" && policy.level.authenticates()
	if policy.level.authenticates() && !s.tls.verified {
		return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 5}, "Server certificate not verified"), nil
	}
	return nil, nil
}

// logHandshake logs a handshake that failed in Postfix's words, and those of crypto/tls where Postfix has OpenSSL's.
func (s *session) logHandshake(err error) {
	text := "lost connection"
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		text = "Connection timed out"
	case errors.Is(err, syscall.ECONNRESET):
		text = reason(err)
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		text = "-1"
	}
	s.agent.log.Infof("SSL_connect error to %s: %s", s.server.relay, text)
	if text == "-1" {
		s.agent.log.Warningf("TLS library problem: %v", err)
	}
}

// trust judges the server's certificate: the word for the log line, and what is wrong
// with it for the policy.
func (s *session) trust(policy *tlsPolicy, chain []*x509.Certificate) (word, problem string) {
	if len(chain) == 0 {
		return "Anonymous", "certificate verification failed for " + s.server.relay + ": no certificate"
	}
	if len(policy.pins) > 0 {
		return s.pinned(policy, chain)
	}
	opts := x509.VerifyOptions{Roots: s.agent.tls.roots, Intermediates: x509.NewCertPool()}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return "Untrusted", "certificate verification failed for " + s.server.relay + ": " + chainReason(chain, err)
	}
	if !policy.level.authenticates() {
		return "Trusted", ""
	}
	return s.named(policy, chain[0])
}

// pinned judges a certificate by the pins of the policy, which stand in place of public authorities.
func (s *session) pinned(policy *tlsPolicy, chain []*x509.Certificate) (word, problem string) {
	switch {
	case policy.pins.acceptLeaf(chain):
		return "Verified", ""
	case policy.pins.acceptIssuer(chain):
		return s.named(policy, chain[0])
	}
	return "Untrusted", "server certificate verification failed for " + s.server.relay + ": num=65:no matching DANE TLSA records"
}

// named judges the name in a certificate that is trusted.
func (s *session) named(policy *tlsPolicy, cert *x509.Certificate) (word, problem string) {
	for _, name := range certificateNames(cert) {
		if policy.accepts(name) {
			return "Verified", ""
		}
	}
	mismatch := "num=62:hostname mismatch"
	last := policy.matches[len(policy.matches)-1]
	if _, isIP := parseIP(last.name); isIP && !last.sub {
		mismatch = "num=64:IP address mismatch"
	}
	return "Untrusted", "server certificate verification failed for " + s.server.relay + ": " + mismatch
}

// chainReason says in OpenSSL's words why a chain is not trusted.
func chainReason(chain []*x509.Certificate, err error) string {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		if time.Now().Before(chain[0].NotBefore) {
			return "certificate is not yet valid"
		}
		return "certificate has expired"
	}
	last := chain[len(chain)-1]
	if last.CheckSignatureFrom(last) == nil {
		if len(chain) == 1 {
			return "self-signed certificate"
		}
		return "self-signed certificate in certificate chain"
	}
	return "untrusted issuer " + issuer(last)
}

// issuer is a name in the form "/O=Example/CN=Example CA".
func issuer(c *x509.Certificate) string {
	var b strings.Builder
	for _, part := range strings.Split(c.Issuer.String(), ",") {
		b.WriteString("/" + part)
	}
	return b.String()
}

// certificateNames are the names that a certificate is for. The common name counts
// where there is no other.
func certificateNames(c *x509.Certificate) []string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames
	}
	return []string{c.Subject.CommonName}
}

// keyDetails is what Postfix logs of a TLS 1.3 handshake besides the cipher.
func keyDetails(state *tls.ConnectionState) string {
	if state.Version < tls.VersionTLS13 || len(state.PeerCertificates) == 0 {
		return ""
	}
	text := ""
	if state.CurveID != 0 {
		text = " key-exchange " + state.CurveID.String()
	}
	switch key := state.PeerCertificates[0].PublicKey.(type) {
	case *ecdsa.PublicKey:
		curve, digest := ecdsaNames(key.Curve.Params().BitSize)
		text += " server-signature ECDSA (" + curve + ") server-digest " + digest
	case *rsa.PublicKey: // the digest is the first that crypto/tls offers
		text += fmt.Sprintf(" server-signature RSA-PSS (%d bits) server-digest SHA256", key.N.BitLen())
	}
	return text
}

// ecdsaNames are OpenSSL's name of a curve and the digest that TLS 1.3 uses with it.
func ecdsaNames(bits int) (curve, digest string) {
	switch bits {
	case 256:
		return "prime256v1", "SHA256"
	case 384:
		return "secp384r1", "SHA384"
	}
	return "secp521r1", "SHA512"
}

// policyFor finds the policy for a server of a next hop.
func (t *tlsClient) policyFor(ctx context.Context, nexthop string, srv *server) (*tlsPolicy, *deliver.Status) {
	p, err := t.policy(ctx, nexthop, srv)
	if err == nil {
		return p, nil
	}
	text, code := "client TLS configuration problem", wire.Enhanced{4, 7, 5}
	var known policyError
	var site siteError
	switch {
	case errors.As(err, &site):
		text, code = "Temporary lookup error", wire.Enhanced{4, 3, 0}
	case errors.As(err, &known):
		text = string(known)
	case errors.Is(err, errPolicyLookup):
		text = "TLS policy table lookup error"
	}
	t.agent.Log.Warningf("TLS policy lookup for %s/%s: %s", nexthop, srv.host, text)
	return nil, &deliver.Status{Action: deliver.Deferred, Enhanced: code, Text: text, Relay: "none", Dead: true}
}
