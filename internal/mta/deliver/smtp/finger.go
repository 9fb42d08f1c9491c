package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A Finger looks at the TLS of a destination's server, for posttls-finger(1): it connects as an agent does, and delivers
// nothing.
type Finger struct {
	Chat      bool          // log the dialogue
	Names     bool          // log which name of the certificate matches
	Peer      bool          // log the certificate
	Chain     io.Writer     // gets the certificates of the server in PEM form; may be nil
	Reconnect time.Duration // connect again after that time, to see whether the session is resumed; 0: not
	Most      int           // how often
	HelloTime time.Duration // limit for each command
	GreetTime time.Duration // limit for the greeting
	Digest    string        // of fingerprints
}

// Run connects to a destination. The log tells what was found.
func (f *Finger) Run(ctx context.Context, c Config, dest string) error {
	a, err := New(c)
	if err != nil {
		return err
	}
	defer a.Close()
	a.trace = &trace{Finger: f, log: a.log}
	if a.tls.config != nil && f.Reconnect > 0 {
		a.tls.config.ClientSessionCache = tls.NewLRUClientSessionCache(f.Most + 1)
	}
	route, failed := a.destination(ctx, dest)
	if failed != nil {
		a.log.Infof("Destination address lookup failed: %s", failed.Text)
		return nil
	}
	seen := make(map[string]bool)
	for again := 0; ; again++ {
		server, ok := a.finger(ctx, dest, route.servers)
		switch {
		case !ok || f.Reconnect <= 0:
			return nil
		case seen[server]:
			a.log.Info("Found a previously used server.  Done reconnecting.")
			return nil
		case again == f.Most:
			a.log.Info("Maximum reconnect count reached.")
			return nil
		}
		seen[server] = true
		a.log.Infof("Reconnecting after %d seconds", int(f.Reconnect.Seconds()))
		f.Names, f.Peer = false, false
		time.Sleep(f.Reconnect)
	}
}

// finger talks to the first server that can be reached. It returns the name that the server has for itself, if there was
// a TLS session with it.
func (a *Agent) finger(ctx context.Context, dest string, servers []server) (name string, ok bool) {
	for i := range servers {
		srv := &servers[i]
		policy, ok := a.fingerPolicy(ctx, dest, srv)
		if !ok {
			continue
		}
		s := &session{agent: a, server: srv, nexthop: dest, began: time.Now()}
		if failed := s.dial(ctx); failed != nil {
			a.log.Infof("Failed to establish session to %s via %s: %s", dest, srv.host, failed.Text)
			continue
		}
		defer s.close()
		a.trace.connected(srv)
		return s.show(policy)
	}
	return "", false
}

// fingerPolicy is the policy for a server. A certificate that there is nothing to judge by, neither TLSA records nor
// fingerprints, is judged as if it had to be secure.
func (a *Agent) fingerPolicy(ctx context.Context, dest string, srv *server) (*tlsPolicy, bool) {
	if a.tls.level == tlsFingerprint && a.set.TLSFingerprints == "" {
		p := &tlsPolicy{level: tlsSecure, matches: []certMatch{{}}}
		a.tls.protocols(p)
		return p, true
	}
	p, failed := a.tls.policyFor(ctx, dest, srv)
	if failed != nil {
		return nil, false
	}
	if a.tls.level == tlsDANE && p.level < tlsDANE {
		if srv.domain != "" {
			a.log.Info("no TLSA records found, resorting to \"secure\"")
		}
		p.level = tlsSecure
		a.tls.complete(p, dest, srv, "")
		a.tls.protocols(p)
	}
	return p, true
}

// show talks to a server. What goes wrong is logged.
func (s *session) show(policy *tlsPolicy) (name string, ok bool) {
	log, f := s.agent.log, s.agent.trace
	if s.agent.set.TLSWrapper && policy.level >= tlsEncrypt {
		if _, err := s.handshake(policy); err != nil {
			return "", false
		}
	}
	greeting, err := s.reply(f.GreetTime)
	if err != nil {
		log.Infof("%s while reading server greeting", exceptionText(err))
		return "", false
	}
	if greeting.code/100 != 2 {
		log.Infof("SMTP service not available: %d %s", greeting.code, said(&greeting))
		return "", false
	}
	s.esmtp = true
	if name, ok = s.showHello(); ok && s.tls.conn == nil && policy.level > tlsNone && s.ext&extStartTLS != 0 {
		if !s.showStartTLS(policy) {
			return "", false
		}
		name, ok = s.showHello()
	}
	if !ok {
		return "", false
	}
	if _, err := s.ask("QUIT", f.HelloTime); err != nil {
		log.Warningf("%s while sending QUIT command", exceptionText(err))
	}
	if conn := s.tls.conn; conn != nil && f.Chain != nil {
		f.chain(conn.ConnectionState().PeerCertificates)
	}
	return name, s.tls.conn != nil
}

// showHello sends EHLO or LHLO, and returns the name in the answer.
func (s *session) showHello() (name string, ok bool) {
	verb := s.helloVerb()
	s.ext = 0
	reply, err := s.ask(verb+" "+s.agent.set.HeloName, s.agent.trace.HelloTime)
	switch {
	case err != nil:
		s.agent.log.Infof("%s while sending %s", exceptionText(err), verb)
	case reply.code/100 != 2:
		s.agent.log.Infof("%s rejected: %d %s", verb, reply.code, said(&reply))
	default:
		s.learn(&reply, 0)
		name, _, _ = strings.Cut(said(&reply), " ")
		return name, true
	}
	return "", false
}

// showStartTLS secures the session.
func (s *session) showStartTLS(policy *tlsPolicy) bool {
	log := s.agent.log
	reply, err := s.ask("STARTTLS", s.agent.trace.HelloTime)
	switch {
	case err != nil:
		log.Infof("%s while sending STARTTLS", exceptionText(err))
		return false
	case reply.code/100 != 2:
		log.Infof("STARTTLS rejected: %d %s", reply.code, said(&reply))
		return false
	}
	_, err = s.handshake(policy)
	return err == nil
}

// said is a reply without its code.
func said(r *reply) string {
	text := r.String()
	return text[min(len(text), len("250 ")):]
}

func exceptionText(err error) string {
	if isTimeout(err) {
		return "timeout"
	}
	return "lost connection"
}

// A trace logs what goes on in a session. A nil one does not.
type trace struct {
	*Finger
	log *maillog.Logger
}

func (f *trace) said(direction byte, line string) {
	if f != nil && f.Chat {
		f.log.Infof("%c %s", direction, line)
	}
}

func (f *trace) connected(srv *server) {
	if f.Chat {
		f.log.Infof("Connected to %s", srv.relay)
	}
}

// certificate tells of the server's certificate.
func (f *trace) certificate(s *session, policy *tlsPolicy, state *tls.ConnectionState, problem string) {
	if f == nil || len(state.PeerCertificates) == 0 {
		return
	}
	leaf := state.PeerCertificates[0]
	if state.DidResume {
		f.log.Infof("%s: Reusing old session", s.server.relay)
	}
	if f.Names && problem == "" && policy.level.authenticates() {
		f.matched(s, policy, state.PeerCertificates)
	}
	if f.Names || f.Peer {
		f.log.Infof("%s: subject_CN=%s, issuer_CN=%s, fingerprint=%s, pkey_fingerprint=%s", s.server.relay,
			leaf.Subject.CommonName, leaf.Issuer.CommonName, f.digest(leaf.Raw), f.digest(leaf.RawSubjectPublicKeyInfo))
	}
}

// matched tells what of the policy it was that the certificate matches.
func (f *trace) matched(s *session, policy *tlsPolicy, chain []*x509.Certificate) {
	for i := range policy.pins {
		p := &policy.pins[i]
		if p.usage != usageEE || !p.matches(chain[0]) {
			continue
		}
		digits := strings.ToUpper(hex.EncodeToString(p.data))
		if policy.level == tlsFingerprint {
			f.log.Infof("%s: Matched fingerprint: %s", s.server.relay, digits)
			return
		}
		matching := map[int]int{32: matchSHA256, 64: matchSHA512}[len(p.data)]
		f.log.Infof("%s: Matched DANE EE certificate at depth 0: %d %d %d %s", s.server.relay, p.usage, p.selector, matching, digits)
		return
	}
	for _, name := range certificateNames(chain[0]) {
		if policy.accepts(name) {
			f.log.Infof("%s: matched peername: %s", s.server.relay, name)
			break
		}
	}
	for depth, cert := range chain {
		if policy.level >= tlsVerify && policy.pins.acceptIssuer([]*x509.Certificate{chain[0], cert}) {
			f.log.Infof("%s: Matched trust anchor at depth %d", s.server.relay, depth)
			return
		}
	}
}

// digest is a fingerprint as it is written in the configuration.
func (f *trace) digest(b []byte) string {
	hash := fingerprintHashes[strings.ToLower(f.Digest)]
	if hash == nil {
		return ""
	}
	digits := strings.ToUpper(hex.EncodeToString(hash(b)))
	var out []byte
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			out = append(out, ':')
		}
		out = append(out, digits[i:i+2]...)
	}
	return string(out)
}

// chain writes the certificates that the server has sent.
func (f *trace) chain(certs []*x509.Certificate) {
	fmt.Fprint(f.Chain, "\n---\nCertificate chain\n")
	for i, c := range certs {
		fmt.Fprintf(f.Chain, "%2d subject: %s\n    issuer: %s\n   cert digest=%s\n   pkey digest=%s\n",
			i, oneLine(c.Subject.String()), oneLine(c.Issuer.String()), f.digest(c.Raw), f.digest(c.RawSubjectPublicKeyInfo))
		if err := pem.Encode(f.Chain, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return
		}
	}
}

// oneLine turns "CN=x,O=y" into "/O=y/CN=x", the order in which certificates have names.
func oneLine(name string) string {
	parts := strings.Split(name, ",")
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString("/" + parts[i])
	}
	return b.String()
}
