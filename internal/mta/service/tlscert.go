package service

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // of a key's identifier, RFC 5280 4.2.1.2
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// lifetime is that of self-signed certificates: their key is what others know them by.
const lifetime = 36525 * 24 * time.Hour

// usages are what a certificate of a mail server is for.
var usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}

// selfSigned makes a certificate.
func (t *tlsTool) selfSigned(key crypto.Signer, hosts []string) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	id := sha1.Sum(der) //nolint:gosec // as above
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts, NotBefore: t.now, NotAfter: t.now.Add(lifetime),
		ExtKeyUsage: usages, SubjectKeyId: id[:],
		ExtraExtensions: []pkix.Extension{{Id: oidBasicConstraints, Value: []byte{0x30, 0}}}, // no authority
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

var (
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// outputCSR writes a request for a certificate.
func (t *tlsTool) outputCSR(hosts []string) error {
	path := t.configuredKey(t.keyFile)
	for _, algorithm := range []string{"rsa", "ecdsa"} {
		if t.keyFile == "" && path == "" {
			path = t.configuredKey(algorithm)
		}
	}
	if path == "" {
		return errors.New("No usable keyfile specified or configured")
	}
	key, err := readKey(path)
	if err != nil {
		return err
	}
	oids := []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}, {1, 3, 6, 1, 5, 5, 7, 3, 2}} // as usages
	usage, err := asn1.Marshal(oids)
	if err != nil {
		return err
	}
	template := &x509.CertificateRequest{DNSNames: t.hosts(hosts), ExtraExtensions: []pkix.Extension{{Id: oidExtKeyUsage, Value: usage}}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key.Signer)
	if err != nil {
		return err
	}
	return pem.Encode(t.stdout, &pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// outputTLSA writes TLSA records for keys: those of files, or those that main.cf names.
func (t *tlsTool) outputTLSA(files []string) error {
	host := t.hosts([]string{t.hostname})[0]
	if len(files) == 0 {
		files = []string{"rsa", "ecdsa"}
	}
	found := false
	for _, file := range files {
		path := t.configuredKey(file)
		if path == "" {
			continue
		}
		found = true
		fmt.Fprintf(t.stdout, "; %s\n", path)
		key, err := readKey(path)
		if err != nil {
			return err
		}
		digest, err := spki(key.Public())
		if err != nil {
			return err
		}
		fmt.Fprintf(t.stdout, "_25._tcp.%s. IN TLSA 3 1 1 %s\n", host, digest)
	}
	if !found {
		return errors.New("No usable keyfiles specified or configured")
	}
	return nil
}
