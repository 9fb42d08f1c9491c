package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// issuer is an authority, or a client, whose key signs with its certificate.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue signs a certificate; by is nil for one that signs itself.
func issue(t *testing.T, by *issuer, subject pkix.Name, ca bool) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if ca {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	}
	parent, parentKey := template, key
	if by != nil {
		parent, parentKey = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func (i *issuer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// crl is a list that revokes serial numbers.
func (i *issuer) crl(t *testing.T, serials ...int64) string {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, i.cert, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// The authorities of ssl_ca: a root, and one between it and the client.
func TestClientVerifier(t *testing.T) {
	root := issue(t, nil, pkix.Name{CommonName: "root"}, true)
	between := issue(t, root, pkix.Name{CommonName: "between"}, true)
	me := issue(t, between, pkix.Name{CommonName: "me", ExtraNames: []pkix.AttributeTypeAndValue{{Type: certFields["CN"], Value: "first"}, {Type: certFields["emailAddress"], Value: "me@x\x00y"}}}, false)
	impostor := issue(t, nil, pkix.Name{CommonName: "between"}, true)
	byImpostor := issue(t, impostor, pkix.Name{CommonName: "me"}, false)
	sent := func(all ...*issuer) (certs []*x509.Certificate) {
		for _, i := range all {
			certs = append(certs, i.cert)
		}
		return certs
	}
	for name, tt := range map[string]struct {
		ca    string
		lists bool // are needed
		certs []*x509.Certificate
		ok    bool
	}{
		"the client sends the way":       {root.pem(), false, sent(me, between), true},
		"ssl_ca has the way":             {root.pem() + between.pem(), false, sent(me), true},
		"nobody has it":                  {root.pem(), false, sent(me), false},
		"the way without its end":        {between.pem(), false, sent(me), false},
		"another of the same name":       {root.pem() + between.pem(), false, sent(byImpostor), false},
		"it sends its authority":         {root.pem() + between.pem(), false, sent(byImpostor, impostor), false},
		"no list":                        {root.pem() + between.pem(), true, sent(me), false},
		"only that of the client":        {root.pem() + between.pem() + between.crl(t), true, sent(me), false},
		"all lists":                      {root.pem() + between.pem() + between.crl(t) + root.crl(t), true, sent(me), true},
		"the authority is revoked":       {root.pem() + between.pem() + between.crl(t) + root.crl(t, 7), true, sent(me), false},
		"revoked, lists not needed":      {root.pem() + between.pem() + between.crl(t, 7), false, sent(me), false},
		"a list of another of that name": {root.pem() + between.pem() + impostor.crl(t, 7), false, sent(me), true},
	} {
		v, err := NewClientVerifier(&dovecot.SSL{VerifyClientCert: true, CA: tt.ca, RequireCRL: tt.lists, CertUsernameField: "commonName"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := v.Verify(tt.certs, time.Now()); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if got := v.Username(me.cert); got != "first" {
			t.Errorf("name %q, want the first", got)
		}
	}
	for field, want := range map[string]string{"emailAddress": "", "2.5.4.3": "first", "O": ""} {
		v, err := NewClientVerifier(&dovecot.SSL{VerifyClientCert: true, CA: root.pem(), CertUsernameField: field})
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Username(me.cert); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	for name, set := range map[string]dovecot.SSL{
		"no such field":  {VerifyClientCert: true, CA: root.pem(), CertUsernameField: "nothing"},
		"no certificate": {VerifyClientCert: true, CA: root.crl(t), CertUsernameField: "CN"},
		"broken":         {VerifyClientCert: true, CA: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CertUsernameField: "CN"},
	} {
		if _, err := NewClientVerifier(&set); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
