package smtpd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// tlsLevel is smtpd_tls_security_level.
type tlsLevel uint8

const (
	tlsNone tlsLevel = iota
	tlsMay
	tlsEncrypt
)

// tlsLevel reads the level, or the older settings where it is empty. Without a
// certificate there is no TLS.
func (srv *Server) tlsLevel() (tlsLevel, error) {
	level := tlsNone
	switch word := strings.ToLower(srv.set.TLSSecurityLevel); word {
	case "":
		switch {
		case srv.set.EnforceTLS:
			level = tlsEncrypt
		case srv.set.UseTLS:
			level = tlsMay
		}
	case "none":
	case "may":
		level = tlsMay
	case "encrypt":
		level = tlsEncrypt
	case "fingerprint", "verify", "secure", "dane", "dane-only":
		srv.log.Warningf("smtpd_tls_security_level: unsupported TLS level %q, using \"encrypt\"", srv.set.TLSSecurityLevel)
		level = tlsEncrypt
	default:
		return 0, fmt.Errorf("Invalid TLS level %q", srv.set.TLSSecurityLevel)
	}
	if srv.set.TLSReqCcert && (level == tlsEncrypt || srv.set.TLSWrappermode) {
		return 0, errors.New("smtpd_tls_req_ccert is not supported: it would let in clients without certificate")
	}
	if srv.tls == nil && (level != tlsNone || srv.set.TLSWrappermode) {
		srv.log.Warningf("No server certs available. TLS won't be enabled")
	}
	return level, nil
}

// TLSParams returns what the certificate settings name, for
// [tlsconf.Server]; ok is false when no certificate is configured. read reads
// files, by a process that may read keys.
func TLSParams(main *postfix.Main, read func(name string) ([]byte, error)) (p tlsconf.Params, ok bool, err error) {
	set, err := postfix.Get[Settings](main)
	if err != nil {
		return p, false, err
	}
	files := []struct {
		dst  *[]byte
		name string
	}{
		{&p.CertPEM, set.TLSCertFile}, {&p.KeyPEM, set.TLSKeyFile},
		{&p.AltCertPEM, set.TLSECCertFile}, {&p.AltKeyPEM, set.TLSECKeyFile},
		{&p.CAPEM, set.TLSCAFile},
	}
	if chain := postfix.SplitList(set.TLSChainFiles); len(chain) > 0 {
		files[0].name, files[1].name = chain[0], chain[0]
		files[2].name, files[3].name = "", ""
		if len(chain) > 1 {
			files[2].name, files[3].name = chain[1], chain[1]
		}
	}
	for _, f := range files {
		if f.name == "" || f.name == "none" {
			continue
		}
		if *f.dst, err = read(f.name); err != nil {
			return p, false, err
		}
	}
	if p.CertPEM == nil {
		p.CertPEM, p.KeyPEM, p.AltCertPEM, p.AltKeyPEM = p.AltCertPEM, p.AltKeyPEM, nil, nil
	}
	protocols := set.TLSProtocols
	if strings.EqualFold(set.TLSSecurityLevel, "encrypt") {
		protocols = set.TLSMandatoryProtocols
	}
	p.Versions, err = tlsconf.ParseVersions(protocols)
	return p, p.CertPEM != nil, err
}

// offersTLS reports whether STARTTLS is possible now.
func (s *session) offersTLS() bool {
	return s.srv.tls != nil && s.srv.level != tlsNone && s.tls.Protocol == "" && s.discard&kwStartTLS == 0
}

// starttls does STARTTLS (RFC 3207).
func (s *session) starttls(args []byte) smtp.Reply {
	switch {
	case len(args) > 0:
		return replySyntaxTLS
	case s.tls.Protocol != "":
		return replyTLSActive
	case s.srv.level == tlsNone || s.discard&kwStartTLS != 0:
		return replyNotImpl
	case s.srv.tls == nil:
		return reply(454, smtp.Enhanced{4, 7, 0}, "TLS not available due to local problem")
	}
	if limit := s.eventLimit(anvilTLS); limit > 0 && !s.exempt() {
		if n := s.srv.anvil.add(s.anvilKey(), anvilTLS, s.srv.now()); n > limit {
			s.srv.log.Warningf("Refusing STARTTLS request from %s for service %s", s.client.label, s.srv.service)
			return reply(454, smtp.Enhanced{4, 7, 0}, "Error: too many new TLS sessions from "+s.client.label)
		}
	}
	s.reply(replyStartTLS)
	err := s.flush()
	if err == nil {
		err = s.handshake()
	}
	if err != nil {
		s.closing = true
		return s.broken(err)
	}
	return smtp.Reply{}
}

// handshake begins TLS. What the client said before it counts for nothing
// (RFC 3207 4.2).
func (s *session) handshake() error {
	if s.srv.tls == nil {
		s.warn("Wrapper-mode request dropped from ", s.client.label, " for service ", s.srv.service, ". TLS context initialization failed. For details see earlier warnings in your logs.")
		return io.EOF
	}
	conn := tls.Server(s.conn, s.srv.tls)
	s.conn.SetDeadline(time.Now().Add(s.srv.set.StarttlsTimeout))
	if err := conn.HandshakeContext(s.ctx); err != nil {
		reason := "-1"
		if errors.Is(err, io.EOF) {
			reason = "lost connection"
		}
		s.srv.log.Infof("SSL_accept error from %s: %s", s.client.label, reason)
		if reason == "-1" {
			s.srv.log.Warningf("TLS library problem: %v", err)
		}
		return io.EOF
	}
	s.conn.SetDeadline(time.Time{})
	s.reset()
	s.conn = conn
	s.r.Reset(conn, s.srv.set.LineLengthLimit)
	s.tls = tlsconf.Describe(conn.ConnectionState())
	s.heloName, s.proto, s.login = "", "SMTP", login{}
	if s.srv.set.TLSLoglevel != "0" {
		s.logTLS()
	}
	return nil
}

func (s *session) logTLS() {
	keyExchange := ""
	if s.tls.Curve != "" {
		keyExchange = " key-exchange " + s.tls.Curve
	}
	s.srv.log.Infof("Anonymous TLS connection established from %s: %s%s", s.client.label, s.tls, keyExchange)
}
