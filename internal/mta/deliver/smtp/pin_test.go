package smtp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
)

// tlsaOf returns the text of a TLSA record about a certificate.
func tlsaOf(t testing.TB, usage, selector, matching uint8, der []byte) string {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	b := cert.Raw
	if selector == selectSPKI {
		b = cert.RawSubjectPublicKeyInfo
	}
	if hash := tlsaHash(matching); hash != nil {
		b = hash(b)
	}
	return fmt.Sprintf("%d %d %d %s", usage, selector, matching, hex.EncodeToString(b))
}

// An issued certificate has a chain of an authority and itself.
func issued(t testing.TB, name string, expires time.Time) tls.Certificate {
	t.Helper()
	keys := make([]*ecdsa.PrivateKey, 2)
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: expires, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, &keys[0].PublicKey, keys[0])
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, &keys[1].PublicKey, keys[0])
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, root}, PrivateKey: keys[1]}
}

// TestDANE delivers to servers with TLSA records (RFC 7672).
func TestDANE(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour)
	good, expired, other := issued(t, "mx.dane.test", tomorrow), issued(t, "mx.dane.test", time.Now().Add(-time.Minute)), issued(t, "other.dane.test", tomorrow)
	leaf, root := good.Certificate[0], good.Certificate[1]
	const sent, unverified = "2.0.0 250", "4.7.5 Server certificate not verified"
	for _, tt := range []struct {
		name    string
		cert    tls.Certificate
		config  string
		records []string // of TLSA
		zone    string
		dnssec  bool
		fails   bool // the lookup of TLSA records
		plain   bool // the server does not offer STARTTLS
		want    string
		log     string
	}{
		{name: "key of the server", cert: good, records: []string{tlsaOf(t, 3, 1, 1, leaf)}, dnssec: true, want: sent, log: "Verified TLS"},
		{name: "certificate of the server", cert: good, records: []string{tlsaOf(t, 3, 0, 2, leaf)}, dnssec: true, want: sent, log: "Verified TLS"},
		{name: "whole certificate", cert: good, records: []string{tlsaOf(t, 3, 0, 0, leaf)}, dnssec: true, want: sent, log: "Verified TLS"},
		{name: "dates do not count with 3", cert: expired, records: []string{tlsaOf(t, 3, 1, 1, expired.Certificate[0])}, dnssec: true, want: sent, log: "Verified TLS"},
		{name: "names do not count with 3", cert: other, records: []string{tlsaOf(t, 3, 1, 1, other.Certificate[0])}, dnssec: true, want: sent, log: "Verified TLS"},
		{name: "authority", cert: good, records: []string{tlsaOf(t, 2, 0, 1, root)}, dnssec: true, want: sent, log: "Verified TLS"},
		{name: "key of the authority", cert: good, records: []string{tlsaOf(t, 2, 1, 1, root)}, dnssec: true, want: sent, log: "Verified TLS"},
		{name: "names count with 2", cert: other, records: []string{tlsaOf(t, 2, 0, 1, other.Certificate[1])}, dnssec: true, want: unverified},
		{name: "dates count with 2", cert: expired, records: []string{tlsaOf(t, 2, 0, 1, expired.Certificate[1])}, dnssec: true, want: unverified},
		{name: "another key", cert: good, records: []string{tlsaOf(t, 3, 1, 1, other.Certificate[0])}, dnssec: true, want: unverified},
		{name: "another authority", cert: good, records: []string{tlsaOf(t, 2, 0, 1, other.Certificate[1])}, dnssec: true, want: unverified},
		{name: "an old key and the present one", cert: good, records: []string{tlsaOf(t, 3, 1, 1, other.Certificate[0]), tlsaOf(t, 3, 1, 1, leaf)}, dnssec: true, want: sent},
		{name: "the stronger digest counts", cert: good, records: []string{tlsaOf(t, 3, 1, 2, other.Certificate[0]), tlsaOf(t, 3, 1, 1, leaf)}, dnssec: true, want: unverified},
		{name: "the server's certificate is no authority", cert: good, records: []string{tlsaOf(t, 2, 0, 1, leaf)}, dnssec: true, want: unverified},
		{name: "no STARTTLS", cert: good, records: []string{tlsaOf(t, 3, 1, 1, leaf)}, dnssec: true, plain: true, want: "4.7.4 TLS is required, but was not offered"},
		{name: "unusable records: any TLS", cert: good, records: []string{tlsaOf(t, 1, 1, 1, other.Certificate[0]), "3 1 1 00", "3 9 1 00"}, dnssec: true, want: sent, log: "Untrusted TLS"},
		{name: "unusable records, no STARTTLS", cert: good, records: []string{"0 0 1 00"}, dnssec: true, plain: true, want: "4.7.4 TLS is required, but was not offered"},
		{name: "unusable records, dane-only", cert: good, config: "smtp_tls_security_level = dane-only\n", records: []string{"3 1 1 00"}, dnssec: true, want: "4.7.5 TLSA records unusable"},
		{name: "no records", cert: good, dnssec: true, plain: true, want: sent},
		{name: "no records, dane-only", cert: good, config: "smtp_tls_security_level = dane-only\n", dnssec: true, want: "4.7.5 no TLSA records found"},
		{name: "records without DNSSEC", cert: good, records: []string{tlsaOf(t, 3, 1, 1, other.Certificate[0])}, plain: true, want: sent},
		{name: "the lookup fails", cert: good, records: []string{tlsaOf(t, 3, 1, 1, leaf)}, dnssec: true, fails: true, want: "4.7.5 TLSA lookup error for mx.dane.test:PORT"},
		{name: "by policy", cert: good, config: "smtp_tls_security_level = may\nsmtp_tls_policy_maps = static:dane-only\n",
			records: []string{tlsaOf(t, 3, 1, 1, other.Certificate[0])}, dnssec: true, want: unverified},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script := "EHLO -> 250-mx.test | 250-PIPELINING | 250 STARTTLS"
			if tt.plain {
				script = ""
			}
			s := startScripted(t, "tcp", "127.0.0.1:0", script, func(s *scripted) { s.cert = tt.cert })
			name := "_" + s.port() + "._tcp.mx.dane.test"
			zone := "mx.dane.test. IN A 127.0.0.1\n" + tt.zone
			for _, r := range tt.records {
				zone += name + ". IN TLSA " + r + "\n"
			}
			server := dnstest.New(t, zone)
			server.Secure(tt.dnssec)
			if tt.fails {
				server.Fail(name, mdns.RcodeServerFailure)
			}
			t.Setenv("DOVETAIL_RESOLV_CONF", server.ResolvConf)
			var logged logLines
			config := "smtp_tls_security_level = dane\nsmtp_dns_support_level = dnssec\nsmtp_tls_loglevel = 1\n" + tt.config
			a := newTestAgent(t, baseConfig+config, false, &logged)
			got := strings.ReplaceAll(deliverTo(t, a, simple("a@dane.test"), "[mx.dane.test]:"+s.port()), s.port(), "PORT")
			dsn, text, _ := strings.Cut(tt.want, " ")
			if !strings.Contains(got, " dsn="+dsn+" ") || !strings.Contains(got, "("+text) {
				t.Errorf("got %s, want %s\n%s", got, tt.want, logged.text())
			}
			if !strings.Contains(logged.text(), tt.log) {
				t.Errorf("the log lacks %q:\n%s", tt.log, logged.text())
			}
		})
	}
}

// TestTLSAPins checks that what can match nothing is left out.
func TestTLSAPins(t *testing.T) {
	for _, r := range []dns.TLSA{
		{Usage: 3, Selector: 1, MatchingType: 1, Data: "00"},
		{Usage: 3, Selector: 1, MatchingType: 3, Data: strings.Repeat("00", 32)},
		{Usage: 3, Selector: 2, MatchingType: 1, Data: strings.Repeat("00", 32)},
		{Usage: 0, Selector: 1, MatchingType: 1, Data: strings.Repeat("00", 32)},
		{Usage: 2, Selector: 0, MatchingType: 0, Data: "3000"},
		{Usage: 3, Selector: 1, MatchingType: 0, Data: "3000"},
		{Usage: 3, Selector: 1, MatchingType: 1, Data: "x"},
	} {
		if got := tlsaPins([]dns.TLSA{r}); len(got) > 0 {
			t.Errorf("%+v is used", r)
		}
	}
}
