package smtp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A tlsLevel is a value of smtp_tls_security_level, the laxest first.
type tlsLevel uint8

const (
	tlsNone tlsLevel = iota
	tlsMay
	tlsEncrypt
	tlsVerify // the certificate's name is the host's
	tlsSecure // the certificate's name is the next hop's
)

var tlsLevels = map[string]tlsLevel{"none": tlsNone, "may": tlsMay, "encrypt": tlsEncrypt, "verify": tlsVerify, "secure": tlsSecure}

// tlsLevel returns the level in force. One that cannot be honored is an error:
// mail must not travel with less protection than asked for.
func (s *Settings) tlsLevel() (tlsLevel, error) {
	if s.TLSPolicy != "" {
		return 0, fmt.Errorf("parameter smtp_tls_policy_maps is not supported: %s", s.TLSPolicy)
	}
	switch {
	case s.TLSLevel == "" && s.EnforceTLS:
		return tlsEncrypt, nil
	case s.TLSLevel == "" && s.UseTLS:
		return tlsMay, nil
	case s.TLSLevel == "":
		return tlsNone, nil
	}
	level, ok := tlsLevels[s.TLSLevel]
	if !ok {
		return 0, fmt.Errorf("parameter smtp_tls_security_level: TLS level %q is not supported", s.TLSLevel)
	}
	if s.TLSWrapper && level < tlsEncrypt {
		return 0, errors.New(`smtp_tls_wrappermode requires "smtp_tls_security_level = encrypt" (or stronger)`)
	}
	return level, nil
}

// errHandshake is a failed TLS handshake.
var errHandshake = errors.New("TLS handshake failed")

// startTLS secures the session, as far as level and server want it. With
// level may a failed handshake is errHandshake: the caller tries again without TLS.
func (s *session) startTLS(level tlsLevel, nexthop string) (*deliver.Status, error) {
	if level == tlsNone {
		return nil, nil
	}
	if s.ext&extStartTLS == 0 {
		if level == tlsMay {
			return nil, nil
		}
		return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 4}, "TLS is required, but was not offered by host "+s.server.String()), nil
	}
	s.r.SetTimeout(s.agent.set.StartTLSTimeout)
	if status := s.command("STARTTLS\r\n"); status != nil {
		return status, nil
	}
	reply, err := s.r.ReadReply()
	if err != nil {
		return s.lost(err, "receiving the STARTTLS response"), nil
	}
	if reply.Code/100 != 2 {
		if level == tlsMay {
			return nil, nil
		}
		return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 4},
			"TLS is required, but host "+s.server.String()+" refused to start TLS: "+said(reply)), nil
	}
	return s.handshake(level, nexthop)
}

// handshake makes the connection a TLS one; what was buffered in plain text is dropped.
func (s *session) handshake(level tlsLevel, nexthop string) (*deliver.Status, error) {
	config := s.agent.tls.Clone()
	config.ServerName = s.server.host
	if level == tlsSecure {
		config.ServerName, _, _ = splitDestination(nexthop)
	}
	conn := tls.Client(s.conn, config)
	s.conn.SetDeadline(time.Now().Add(s.agent.set.StartTLSTimeout))
	if err := conn.Handshake(); err != nil {
		return s.handshakeFailed(level, err)
	}
	s.conn.SetDeadline(time.Time{})
	s.conn = conn
	s.r.Reset(conn, maxReplyLine)
	if s.agent.set.TLSLogLevel > 0 {
		trust := "Untrusted"
		if level >= tlsVerify {
			trust = "Verified"
		}
		s.agent.log.Infof("%s TLS connection established to %s: %s", trust, s.server.relay(), tlsconf.Describe(conn.ConnectionState()))
	}
	return nil, nil
}

func (s *session) handshakeFailed(level tlsLevel, err error) (*deliver.Status, error) {
	s.agent.log.Infof("SSL_connect error to %s: %v", s.server.relay(), err)
	if level == tlsMay {
		return nil, errHandshake
	}
	var verify *tls.CertificateVerificationError
	if errors.As(err, &verify) {
		s.agent.log.Infof("certificate verification failed for %s: %v", s.server.relay(), verify.Err)
		return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 5}, "Server certificate not verified"), nil
	}
	return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 5}, "Cannot start TLS: handshake failure"), nil
}
