package tlsserver

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// maxName is the longest name that is taken from a certificate, in bytes, as in Postfix.
const maxName = 255

var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidOrganization = asn1.ObjectIdentifier{2, 5, 4, 10}
)

// A nameReader takes names out of a client's certificate. Names that could pass for another, or for more than a name, count as none, as in
// Postfix's tls_text_name, and are logged.
type nameReader struct {
	log    *maillog.Logger
	client string
}

func (r *nameReader) commonName(n pkix.Name) string {
	name, found := r.first(n, oidCommonName, "subject CN")
	if !found {
		r.warn("peer certificate has no subject CN")
	}
	return name
}

// issuer is the issuer's common name, or else its organization.
func (r *nameReader) issuer(c *x509.Certificate) string {
	name, _ := r.first(c.Issuer, oidCommonName, "issuer CN")
	if name == "" {
		name, _ = r.first(c.Issuer, oidOrganization, "issuer Organization")
	}
	return name
}

// first is the first name of a kind. label says in log lines which.
func (r *nameReader) first(n pkix.Name, kind asn1.ObjectIdentifier, label string) (name string, found bool) {
	for _, part := range n.Names {
		text, ok := part.Value.(string)
		if !part.Type.Equal(kind) || !ok {
			continue
		}
		text = strings.TrimRight(text, "\x00")
		switch {
		case len(text) > maxName:
			r.warn("peer " + label + " too long")
		case strings.Contains(text, "\x00"):
			r.warn("NULL character in peer " + label)
		case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }):
			r.warn("non-printable content in peer " + label)
		default:
			return text, true
		}
		return "", true
	}
	return "", false
}

func (r *nameReader) warn(what string) { r.log.Warningf("tls_text_name: %s: %s", r.client, what) }
