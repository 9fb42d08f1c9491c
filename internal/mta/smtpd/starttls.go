package smtpd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/tlsserver"
	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// tlsLevel is smtpd_tls_security_level.
type tlsLevel uint8

const (
	tlsNone tlsLevel = iota
	tlsMay
	tlsEncrypt
)

// tlsLevel reads the level, or the older settings where it is empty. In wrapper mode the level
// counts nothing: there always is TLS.
func (srv *Server) tlsLevel() (tlsLevel, error) {
	set := &srv.set
	word := strings.ToLower(set.TLSSecurityLevel)
	switch {
	case set.TLSWrappermode:
		return tlsEncrypt, nil
	case word == "" && set.EnforceTLS:
		return tlsEncrypt, nil
	case word == "" && set.UseTLS, word == "may":
		return tlsMay, nil
	case word == "", word == "none":
		return tlsNone, nil
	case word == "encrypt":
		return tlsEncrypt, nil
	case word == "fingerprint", word == "verify", word == "secure", word == "dane", word == "dane-only":
		srv.log.Warningf("smtpd_tls_security_level: unsupported TLS level \"%s\", using \"encrypt\"", set.TLSSecurityLevel)
		return tlsEncrypt, nil
	}
	return 0, fmt.Errorf("Invalid TLS level \"%s\"", set.TLSSecurityLevel)
}

// requiresCert reports whether clients need a certificate that is trusted.
func (srv *Server) requiresCert() bool { return srv.set.TLSReqCcert && srv.level == tlsEncrypt }

// openTLS reads certificates and keys. Without any there is no TLS, which is no error.
func (srv *Server) openTLS(c *Config) error {
	if srv.level == tlsNone {
		return nil
	}
	set := &srv.set
	if set.TLSReqCcert && srv.level != tlsEncrypt {
		srv.log.Warningf("Can't require client certs unless TLS is required")
	}
	p, err := srv.tlsParams(c)
	if err != nil {
		return err
	}
	srv.tls, err = tlsserver.New(p)
	if !errors.Is(err, tlsserver.ErrNoCertificate) {
		return chainFileError(set, err)
	}
	if p.AskCert {
		srv.log.Warningf("Need a server cert to request client certs")
	}
	srv.log.Warningf("No server certs available. TLS won't be enabled")
	return nil
}

func (srv *Server) tlsParams(c *Config) (p tlsserver.Params, err error) {
	set := &srv.set
	p = tlsserver.Params{
		CertFile: set.TLSCertFile, KeyFile: set.TLSKeyFile, ECCertFile: set.TLSECCertFile, ECKeyFile: set.TLSECKeyFile,
		ChainFiles: postfix.SplitList(set.TLSChainFiles), CAFile: set.TLSCAFile, CAPath: set.TLSCAPath, DefaultCAs: set.TLSAppendDefaultCA,
		AskCert: set.TLSAskCcert || srv.requiresCert(), VerifyDepth: set.TLSCcertVerifydepth, Digest: set.TLSFingerprintDigest,
		SessionTimeout: set.TLSSessionTimeout, LogLevel: set.TLSLoglevel,
		ReadFile: c.readFile(), Log: srv.log, Now: srv.now,
	}
	if set.TLSTicketCipher == "" {
		p.SessionTimeout = 0
	}
	protocols, ciphers := set.TLSProtocols, tlsserver.Choice{Param: "smtpd_tls_ciphers", Grade: set.TLSCiphers, Exclude: []string{set.TLSExcludeCiphers}}
	if srv.level == tlsEncrypt {
		protocols, ciphers.Param, ciphers.Grade = set.TLSMandatoryProtocols, "smtpd_tls_mandatory_ciphers", set.TLSMandatoryCiphers
		ciphers.Exclude = append(ciphers.Exclude, set.TLSMandatoryExclude)
	}
	if err = p.ChooseCiphers(c.Main, ciphers); err != nil {
		return p, err
	}
	if len(p.ChainFiles) > 0 && (p.CertFile != "" || p.ECCertFile != "") {
		srv.log.Warningf("Both smtpd_tls_chain_files and one or more of the legacy  smtpd_tls_cert_file, smtpd_tls_eccert_file or smtpd_tls_dcert_file are non-empty; the legacy  parameters will be ignored")
	}
	if p.SNI, err = c.Tables.OpenMaps("tls_server_sni_maps", set.TLSServerSNIMaps); err != nil {
		return p, err
	}
	p.Versions, err = tlsconf.ParseVersions(protocols)
	return p, err
}

// chainFileError says which parameter names a file that cannot be read, or used.
func chainFileError(set *Settings, err error) error {
	if bad := (*tlsserver.ChainError)(nil); errors.As(err, &bad) {
		params := "smtpd_tls_cert_file, smtpd_tls_key_file"
		if set.TLSChainFiles != "" {
			params = "smtpd_tls_chain_files"
		}
		return fmt.Errorf("%s: %w", params, err)
	}
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err
	}
	for _, p := range []struct{ name, value string }{
		{"smtpd_tls_chain_files", set.TLSChainFiles},
		{"smtpd_tls_cert_file", set.TLSCertFile}, {"smtpd_tls_key_file", set.TLSKeyFile},
		{"smtpd_tls_eccert_file", set.TLSECCertFile}, {"smtpd_tls_eckey_file", set.TLSECKeyFile},
		{"smtpd_tls_CAfile", set.TLSCAFile},
	} {
		for _, path := range postfix.SplitList(p.value) {
			if path == pe.Path {
				return fmt.Errorf("%s: error opening chain file: %s: %s", p.name, pe.Path, table.Reason(pe))
			}
		}
	}
	return err
}

// offersTLS reports whether STARTTLS is announced now. As with Postfix it is even where no
// certificate could be read.
func (s *session) offersTLS() bool {
	return s.srv.level != tlsNone && s.tls.Protocol == "" && s.discard&kwStartTLS == 0
}

// starttls does STARTTLS (RFC 3207).
func (s *session) starttls(args []byte) smtp.Reply {
	switch {
	case len(args) > 0:
		return replySyntaxTLS
	case s.milterRefusesAll().Code >= 500:
		return s.milterRefusesAll()
	case s.milterRefusesAll().Code != 0:
		return reply(454, smtp.Enhanced{4, 3, 0}, "Try again later") // as Sendmail
	case s.tls.Protocol != "":
		return replyTLSActive
	case s.srv.level == tlsNone || s.discard&kwStartTLS != 0:
		return replyNotImpl
	case s.srv.tls == nil:
		return reply(454, smtp.Enhanced{4, 7, 0}, "TLS not available due to local problem")
	case s.tooManyHandshakes():
		s.srv.log.Warningf("Refusing STARTTLS request from %s for service %s", s.client.label, s.srv.service)
		return reply(454, smtp.Enhanced{4, 7, 0}, "Error: too many new TLS sessions from "+s.client.label)
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

// tooManyHandshakes reports whether the client was over the limit before, so that another handshake
// would be wasted.
func (s *session) tooManyHandshakes() bool {
	limit := s.srv.set.ClientNewTLSSessionRateLimit
	return limit > 0 && !s.exempt() && s.srv.anvil.rate(s.anvilKey(), anvilTLS, s.srv.now()) > limit
}

// wrap begins TLS before anything is said (smtpd_tls_wrappermode).
func (s *session) wrap() error {
	if s.srv.tls == nil {
		s.srv.log.Warningf("Wrapper-mode request dropped from %s for service %s. TLS context initialization failed. For details see earlier warnings in your logs.",
			s.client.label, s.srv.service)
		return errEnd
	}
	if s.tooManyHandshakes() {
		s.srv.log.Warningf("Refusing TLS service request from %s for service %s", s.client.label, s.srv.service)
		return errEnd
	}
	return s.handshake()
}

// handshake begins TLS. What the client said before it counts for nothing (RFC 3207 4.2).
func (s *session) handshake() error {
	conn, state, err := s.srv.tls.Handshake(s.ctx, tlsserver.Handshake{
		Conn: s.conn, Client: s.client.label, Timeout: s.srv.set.StarttlsTimeout, RequireCert: s.srv.requiresCert(),
	})
	limited := s.countHandshake(&state)
	if err != nil {
		return io.EOF
	}
	s.reset()
	s.conn, s.tls = conn, state
	s.r.Reset(conn, s.srv.set.LineLengthLimit)
	s.heloName, s.proto, s.login = "", "SMTP", login{}
	if limited {
		s.reply(s.hostReply(421, smtp.Enhanced{4, 7, 0}, "Error: too many new TLS sessions from "+s.client.label))
		return nil
	}
	if s.srv.requiresCert() && !state.Peer.Trusted {
		return s.refuseCert()
	}
	return nil
}

// countHandshake counts one that was not cheap; it reports whether that was too many.
func (s *session) countHandshake(state *tlsserver.Session) bool {
	limit := s.srv.set.ClientNewTLSSessionRateLimit
	if limit <= 0 || state.Reused || s.exempt() {
		return false
	}
	n := s.srv.anvil.add(s.anvilKey(), anvilTLS, s.srv.now())
	if n <= limit {
		return false
	}
	s.srv.log.Warningf("New TLS session rate limit exceeded: %d from %s for service %s", n, s.client.label, s.srv.service)
	return true
}

// refuseCert ends the session of a client without a certificate that is trusted, with the reply to its next
// command: there is none to STARTTLS itself any more.
func (s *session) refuseCert() error {
	why := "No client certificate presented"
	if s.tls.Peer.Cert != nil {
		why = "Client certificate not trusted"
	}
	s.srv.log.Infof("NOQUEUE: abort: TLS from %s: %s", s.client.label, why)
	if !s.srv.set.TLSWrappermode {
		if _, err := s.readLine(); err != nil {
			return err
		}
	}
	s.reply(s.hostReply(421, smtp.Enhanced{4, 7, 1}, "Error: "+why))
	return nil
}
