package tlsconf

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A ClientVerifier judges the certificates of clients by ssl_ca, as OpenSSL does for Dovecot: an authority is a
// certificate that has signed itself; what else is in ssl_ca only helps to find the way to one. With
// ssl_require_crl each certificate up to the authority, and that too, needs a list of revoked certificates in
// ssl_ca that is not out of date. Without it such a list counts where there is one.
type ClientVerifier struct {
	roots, others *x509.CertPool
	crls          RevocationLists
	requireCRL    bool
	field         asn1.ObjectIdentifier
}

// NewClientVerifier returns the verifier for settings; nil if they ask for none. Errors are the settings'.
func NewClientVerifier(ssl *dovecot.SSL) (*ClientVerifier, error) {
	if !ssl.VerifyClientCert {
		return nil, nil
	}
	v := &ClientVerifier{roots: x509.NewCertPool(), others: x509.NewCertPool(), requireCRL: ssl.RequireCRL}
	var err error
	if v.field, err = certField(ssl.CertUsernameField); err != nil {
		return nil, err
	}
	if v.crls, err = ParseRevocationLists([]byte(ssl.CA)); err != nil {
		return nil, err
	}
	found := false
	for rest := []byte(ssl.CA); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		isCert, err := v.add(block)
		if err != nil {
			return nil, fmt.Errorf("ssl_ca: %w", err)
		}
		found = found || isCert
	}
	if !found {
		return nil, errors.New("ssl_ca has no certificate in PEM form")
	}
	return v, nil
}

// add takes one block of ssl_ca.
func (v *ClientVerifier) add(block *pem.Block) (isCert bool, err error) {
	switch block.Type {
	case "CERTIFICATE", "TRUSTED CERTIFICATE", "X509 CERTIFICATE":
	default:
		return false, nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false, err
	}
	if string(cert.RawSubject) == string(cert.RawIssuer) {
		v.roots.AddCert(cert)
	} else {
		v.others.AddCert(cert)
	}
	return true, nil
}

// Verify judges a client's certificate, the first of those that it sent. An error says what is wrong with it.
func (v *ClientVerifier) Verify(certs []*x509.Certificate, now time.Time) error {
	others := v.others.Clone()
	for _, c := range certs[1:] {
		others.AddCert(c)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots: v.roots, Intermediates: others, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if _, err = v.crls.Check(chain, v.requireCRL, now); err == nil {
			return nil
		}
	}
	return err
}

// Username returns the name in the field of ssl_cert_username_field of a certificate; the first if there
// are several, and "" if there is none, or one that is cut short for those who end it at a zero byte.
func (v *ClientVerifier) Username(cert *x509.Certificate) string {
	for _, a := range cert.Subject.Names {
		if !a.Type.Equal(v.field) {
			continue
		}
		name, _ := a.Value.(string)
		if strings.IndexByte(name, 0) >= 0 {
			return ""
		}
		return name
	}
	return ""
}

// certFields are the names that OpenSSL has for fields of a subject, long and short.
var certFields = map[string]asn1.ObjectIdentifier{
	"commonName": {2, 5, 4, 3}, "CN": {2, 5, 4, 3},
	"surname": {2, 5, 4, 4}, "SN": {2, 5, 4, 4},
	"serialNumber": {2, 5, 4, 5},
	"countryName":  {2, 5, 4, 6}, "C": {2, 5, 4, 6},
	"localityName": {2, 5, 4, 7}, "L": {2, 5, 4, 7},
	"stateOrProvinceName": {2, 5, 4, 8}, "ST": {2, 5, 4, 8},
	"organizationName": {2, 5, 4, 10}, "O": {2, 5, 4, 10},
	"organizationalUnitName": {2, 5, 4, 11}, "OU": {2, 5, 4, 11},
	"title": {2, 5, 4, 12}, "description": {2, 5, 4, 13}, "name": {2, 5, 4, 41},
	"givenName": {2, 5, 4, 42}, "GN": {2, 5, 4, 42}, "initials": {2, 5, 4, 43},
	"dnQualifier": {2, 5, 4, 46}, "pseudonym": {2, 5, 4, 65},
	"emailAddress": {1, 2, 840, 113549, 1, 9, 1}, "unstructuredName": {1, 2, 840, 113549, 1, 9, 2},
	"userId": {0, 9, 2342, 19200300, 100, 1, 1}, "UID": {0, 9, 2342, 19200300, 100, 1, 1},
	"rfc822Mailbox": {0, 9, 2342, 19200300, 100, 1, 3}, "mail": {0, 9, 2342, 19200300, 100, 1, 3},
}

// certField reads ssl_cert_username_field: a name, or numbers with dots between.
func certField(name string) (asn1.ObjectIdentifier, error) {
	if oid, ok := certFields[name]; ok {
		return oid, nil
	}
	var oid asn1.ObjectIdentifier
	for word := range strings.SplitSeq(name, ".") {
		n, err := strconv.ParseUint(word, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("Invalid cert_username_field: %s", name)
		}
		oid = append(oid, int(n))
	}
	if len(oid) < 2 {
		return nil, fmt.Errorf("Invalid cert_username_field: %s", name)
	}
	return oid, nil
}
