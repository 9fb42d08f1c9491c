package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Params are the settings of one TLS server or client. PEM fields hold file
// contents, not names. Only the Protocols and certificates are required of a server.
type Params struct {
	CertPEM, KeyPEM []byte // chain, leaf first, and its key
	KeyPassword     []byte // of keys that are encrypted
	AltCertPEM      []byte // second certificate (ssl_alt_cert, the ECDSA beside the RSA one)
	AltKeyPEM       []byte
	CAPEM           []byte   // authorities: of client certificates, or of the server for clients
	MinProtocol     string   // "TLSv1.2", ... as Dovecot's ssl_min_protocol; "ANY" or empty is the oldest that is safe
	Versions        Versions // instead of MinProtocol, if it is not zero
	CipherList      string   // OpenSSL cipher list of TLS 1.2 and older; names are honored, selectors order nothing
	Curves          string   // names of OpenSSL with colons between; empty for those of crypto/tls
	NoTickets       bool     // no resumption of sessions
	ClientCert      ClientCert
	ServerName      string // client: name to verify and send as SNI
	NoVerify        bool   // client: opportunistic, certificate not looked at
	NextProtos      []string
}

// ClientCert says what a server asks of the client's certificate.
type ClientCert uint8

// What a server may ask.
const (
	NoClientCert ClientCert = iota
	AskClientCert
	RequireClientCert
)

var protocols = map[string]uint16{
	"ANY": tls.VersionTLS10, "": tls.VersionTLS12,
	"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11,
	"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13,
	"SSLv3": tls.VersionTLS10, "LATEST": tls.VersionTLS13,
}

// Server returns the configuration of a TLS server. An error names what is
// wrong with the certificate, key or protocol; it is permanent.
func Server(p Params) (*tls.Config, error) {
	c, err := base(p)
	if err != nil {
		return nil, err
	}
	cert, err := keyPair("certificate", p.CertPEM, p.KeyPEM, p.KeyPassword)
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{cert}
	if len(p.AltCertPEM) > 0 {
		alt, err := keyPair("alternative certificate", p.AltCertPEM, p.AltKeyPEM, p.KeyPassword)
		if err != nil {
			return nil, err
		}
		c.Certificates = append(c.Certificates, alt)
	}
	switch p.ClientCert {
	case AskClientCert:
		c.ClientAuth = tls.RequestClientCert
	case RequireClientCert:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if len(p.CAPEM) > 0 {
		if c.ClientCAs, err = pool(p.CAPEM); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Client returns the configuration of a TLS client.
func Client(p Params) (*tls.Config, error) {
	c, err := base(p)
	if err != nil {
		return nil, err
	}
	c.ServerName = p.ServerName
	c.InsecureSkipVerify = p.NoVerify
	if len(p.CertPEM) > 0 {
		cert, err := keyPair("client certificate", p.CertPEM, p.KeyPEM, p.KeyPassword)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	if len(p.CAPEM) > 0 {
		if c.RootCAs, err = pool(p.CAPEM); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func base(p Params) (*tls.Config, error) {
	minVersion, ok := protocols[p.MinProtocol]
	if !ok {
		return nil, fmt.Errorf("unknown TLS protocol version %q", p.MinProtocol)
	}
	c := &tls.Config{MinVersion: minVersion, NextProtos: p.NextProtos}
	if p.Versions != (Versions{}) {
		c.MinVersion, c.MaxVersion = p.Versions.Lowest, p.Versions.Highest
	}
	c.CipherSuites = cipherSuites(p.CipherList)
	c.SessionTicketsDisabled = p.NoTickets
	var err error
	c.CurvePreferences, err = curves(p.Curves)
	return c, err
}

func keyPair(what string, cert, key, password []byte) (tls.Certificate, error) {
	key, err := decryptKey(key, password)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key of %s: %w", what, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("%s: %w", what, err)
	}
	return pair, nil
}

func pool(pem []byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, errors.New("CA file holds no certificate in PEM form")
	}
	return p, nil
}

// cipherSuites picks the suites that an OpenSSL cipher list names one by one.
// A list made of selectors only ("HIGH:!aNULL", "PROFILE=SYSTEM") selects the
// suites that crypto/tls holds safe, which satisfy every such list in use.
func cipherSuites(list string) []uint16 {
	var ids []uint16
	for name := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		for _, c := range suites {
			if c.openssl == name {
				ids = append(ids, c.id)
			}
		}
	}
	return ids
}
