package tlsconf

import (
	"crypto/tls"
	"fmt"
)

// suite is a cipher suite with OpenSSL's name and the key bits OpenSSL reports.
type suite struct {
	id      uint16
	openssl string
	bits    int
}

var suites = []suite{
	{tls.TLS_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", 128},
	{tls.TLS_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", 256},
	{tls.TLS_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", 256},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", 128},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", 128},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", 256},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", 256},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", 256},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", 256},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", 128},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", 128},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", 256},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", 256},
}

var versions = map[uint16]string{
	tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1",
	tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3",
}

// Session is what log lines and headers say of a TLS session, in OpenSSL's words.
type Session struct {
	Protocol string // "TLSv1.3"
	Cipher   string // "TLS_AES_256_GCM_SHA384"
	Bits     int    // secret bits of the cipher
	Curve    string // "X25519", or empty
}

// Describe names the protocol, cipher and key exchange of an established session.
func Describe(cs tls.ConnectionState) Session {
	s := Session{Protocol: versions[cs.Version], Cipher: tls.CipherSuiteName(cs.CipherSuite), Curve: cs.CurveID.String()}
	for _, c := range suites {
		if c.id == cs.CipherSuite {
			s.Cipher, s.Bits = c.openssl, c.bits
		}
	}
	if cs.CurveID == 0 {
		s.Curve = ""
	}
	return s
}

// String gives the form of Postfix's and Dovecot's log lines:
// "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)".
func (s Session) String() string {
	return fmt.Sprintf("%s with cipher %s (%d/%d bits)", s.Protocol, s.Cipher, s.Bits, s.Bits)
}
