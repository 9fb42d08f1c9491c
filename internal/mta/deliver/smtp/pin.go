package smtp

import (
	"bytes"
	"context"
	"crypto/md5"  //nolint:gosec // what smtp_tls_fingerprint_digest names by default in Postfix before 3.6
	"crypto/sha1" //nolint:gosec // as above
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/dns"
)

// Values of TLSA records (RFC 6698, RFC 7218).
const (
	usageTA = 2 // an authority, by whatever certificate it is in the chain
	usageEE = 3 // the server's own

	selectCert = 0
	selectSPKI = 1 // the public key

	matchFull   = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// A pin says which certificates or keys a server may have, in place of public authorities: what TLSA
// records say, fingerprints, and trust anchors from files.
type pin struct {
	usage    uint8
	selector uint8
	hash     func([]byte) []byte // nil: data is the thing itself
	data     []byte
}

func (p *pin) matches(cert *x509.Certificate) bool {
	b := cert.Raw
	if p.selector == selectSPKI {
		b = cert.RawSubjectPublicKeyInfo
	}
	if p.hash != nil {
		b = p.hash(b)
	}
	return bytes.Equal(b, p.data)
}

func sum256(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
func sum512(b []byte) []byte { s := sha512.Sum512(b); return s[:] }

// pins are alternatives.
type pins []pin

// acceptLeaf tells whether the server's own certificate is one of them. Neither its name nor its dates
// count then (RFC 7672 3.1.1).
func (list pins) acceptLeaf(chain []*x509.Certificate) bool {
	for i := range list {
		if list[i].usage == usageEE && list[i].matches(chain[0]) {
			return true
		}
	}
	return false
}

// acceptIssuer tells whether the certificate was issued, with nothing wrong in between, by an authority that
// is one of them. Its name is yet to be checked.
func (list pins) acceptIssuer(chain []*x509.Certificate) bool {
	roots := x509.NewCertPool()
	found := false
	for i := range list {
		if list[i].usage != usageTA {
			continue
		}
		for _, cert := range chain[1:] {
			if list[i].matches(cert) {
				roots.AddCert(cert)
				found = true
			}
		}
		// The server need not send what the pin has as a whole.
		if list[i].hash == nil && list[i].selector == selectCert {
			if cert, err := x509.ParseCertificate(list[i].data); err == nil {
				roots.AddCert(cert)
				found = true
			}
		}
	}
	if !found {
		return false
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(opts)
	return err == nil
}

// tlsaPins are the usable of TLSA records. Of digests of the same thing only the strongest counts
// (RFC 7671 9).
func tlsaPins(records []dns.TLSA) pins {
	strongest := make(map[[2]uint8]uint8)
	for _, r := range records {
		if of := [2]uint8{r.Usage, r.Selector}; usable(&r) && r.MatchingType != matchFull {
			strongest[of] = max(strongest[of], r.MatchingType)
		}
	}
	var list pins
	for _, r := range records {
		if !usable(&r) || r.MatchingType != matchFull && r.MatchingType != strongest[[2]uint8{r.Usage, r.Selector}] {
			continue
		}
		data, _ := hex.DecodeString(r.Data) //nolint:errcheck // usable has checked it
		list = append(list, pin{r.Usage, r.Selector, tlsaHash(r.MatchingType), data})
	}
	return list
}

func tlsaHash(matching uint8) func([]byte) []byte {
	switch matching {
	case matchSHA256:
		return sum256
	case matchSHA512:
		return sum512
	}
	return nil
}

// usable leaves out what mail does not use (RFC 7672 3.1.3), and what can match nothing.
func usable(r *dns.TLSA) bool {
	data, err := hex.DecodeString(r.Data)
	switch {
	case err != nil, r.Usage != usageTA && r.Usage != usageEE, r.Selector > selectSPKI, r.MatchingType > matchSHA512:
		return false
	case r.MatchingType == matchSHA256:
		return len(data) == sha256.Size
	case r.MatchingType == matchSHA512:
		return len(data) == sha512.Size
	case r.Selector == selectCert:
		_, err = x509.ParseCertificate(data)
	default:
		_, err = x509.ParsePKIXPublicKey(data)
	}
	return err == nil
}

// noteUnusable warns of a record that is of no use.
func (c *Config) noteUnusable(name string, srv *server, r *dns.TLSA) {
	what := ""
	switch {
	case usable(r):
		return
	case r.Usage != usageTA && r.Usage != usageEE:
		what = "unsupported TLSA certificate usage:"
	case r.Selector > selectSPKI:
		what = "unsupported TLSA selector:"
	case r.MatchingType > matchSHA512:
		what = "unsupported TLSA matching type:"
	default:
		name, what = srv.relay+":", "unusable TLSA RR:"
	}
	c.Log.Warningf("%s %s %d %d %d %.64s", name, what, r.Usage, r.Selector, r.MatchingType, strings.ToUpper(r.Data))
}

// fingerprintHashes are the values of smtp_tls_fingerprint_digest.
var fingerprintHashes = map[string]func([]byte) []byte{
	"md5":    func(b []byte) []byte { s := md5.Sum(b); return s[:] },  //nolint:gosec // configured
	"sha1":   func(b []byte) []byte { s := sha1.Sum(b); return s[:] }, //nolint:gosec // configured
	"sha224": func(b []byte) []byte { s := sha256.Sum224(b); return s[:] },
	"sha256": sum256,
	"sha384": func(b []byte) []byte { s := sha512.Sum384(b); return s[:] },
	"sha512": sum512,
}

// fingerprintPins are fingerprints of certificates or of their keys: hexadecimal digits, with or without
// colons between bytes.
func fingerprintPins(words []string, digest string) (pins, error) {
	hash := fingerprintHashes[strings.ToLower(digest)]
	if hash == nil {
		return nil, fmt.Errorf("digest algorithm %q is not supported", digest)
	}
	var list pins
	for _, word := range words {
		data, err := hex.DecodeString(strings.ReplaceAll(word, ":", ""))
		if err != nil || len(data) != len(hash(nil)) {
			return nil, fmt.Errorf("%q is no %s fingerprint", word, digest)
		}
		list = append(list, pin{usageEE, selectCert, hash, data}, pin{usageEE, selectSPKI, hash, data})
	}
	return list, nil
}

// anchorPins are the certificates and public keys in a file in PEM form.
func anchorPins(name string, content []byte) (pins, error) {
	var list pins
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		switch block.Type {
		case "CERTIFICATE":
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("trust anchor file %s: %w", name, err)
			}
			list = append(list, pin{usageTA, selectCert, nil, block.Bytes})
		case "PUBLIC KEY":
			list = append(list, pin{usageTA, selectSPKI, nil, block.Bytes})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("trust anchor file %s holds neither a certificate nor a public key in PEM form", name)
	}
	return list, nil
}

// tlsa looks up the TLSA records of a server, under the name at the end of its CNAMEs first (RFC 7672 2.2.2).
// base is the name that has them; records without pins are of no use.
func (c *Config) tlsa(ctx context.Context, srv *server) (base string, list pins, found bool, err error) {
	names := []string{srv.host}
	if srv.alias != "" && !strings.EqualFold(srv.alias, srv.host) {
		names = []string{srv.alias, srv.host}
	}
	for _, name := range names {
		answer, err := c.Resolver.TLSA(ctx, "_"+srv.port+"._tcp."+name)
		switch {
		case dns.Temporary(err):
			return "", nil, false, err
		case err != nil || !answer.Secure:
			continue
		}
		for _, r := range answer.Records {
			c.noteUnusable("_"+srv.port+"._tcp."+name, srv, &r)
		}
		return name, tlsaPins(answer.Records), true, nil
	}
	return "", nil, false, nil
}
