package tlsconf

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// RevocationLists are the lists of revoked certificates that stand beside the authorities in ssl_ca.
type RevocationLists []*x509.RevocationList

// ParseRevocationLists returns the lists in PEM text, in which there may be other things.
func ParseRevocationLists(text []byte) (RevocationLists, error) {
	var all RevocationLists
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all, nil
		}
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("ssl_ca: revocation list: %w", err)
		}
		all = append(all, list)
	}
}

// What is wrong with a certificate, in OpenSSL's words.
var (
	errNoCRL      = errors.New("unable to get certificate CRL")
	errExpiredCRL = errors.New("CRL has expired")
	errFutureCRL  = errors.New("CRL is not yet valid")
	errRevoked    = errors.New("certificate revoked")
)

// Check looks for the certificates of a chain, which ends with its authority, in the lists of their issuers. With
// required (ssl_require_crl) each needs one that is in force. A list revokes even when it is not needed or out of
// date. The certificate that the error is about comes with it.
func (r RevocationLists) Check(chain []*x509.Certificate, required bool, now time.Time) (*x509.Certificate, error) {
	for i, cert := range chain {
		err := r.check(cert, chain[min(i+1, len(chain)-1)], now)
		if errors.Is(err, errRevoked) || err != nil && required {
			return cert, err
		}
	}
	return nil, nil
}

func (r RevocationLists) check(cert, issuer *x509.Certificate, now time.Time) error {
	result := errNoCRL
	for _, list := range r {
		if !bytes.Equal(list.RawIssuer, cert.RawIssuer) || isPartial(list) || list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return errRevoked
			}
		}
		switch {
		case result == nil: // another list is in force
		case !list.NextUpdate.IsZero() && now.After(list.NextUpdate):
			result = errExpiredCRL
		case now.Before(list.ThisUpdate):
			result = errFutureCRL
		default:
			result = nil
		}
	}
	return result
}

// isPartial reports whether a list says something that must be understood and is not: that it is about others'
// certificates, or only about some.
func isPartial(list *x509.RevocationList) bool {
	return slices.ContainsFunc(list.Extensions, func(e pkix.Extension) bool { return e.Critical })
}
