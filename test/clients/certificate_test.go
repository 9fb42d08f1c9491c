package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// An authority signs certificates of clients, and lists of those that it has revoked.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	next int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, next: 2}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// pem is the authority's certificate, and a list that revokes the serial numbers.
func (a *authority) pem(revoked ...int64) string {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(24 * time.Hour)}
	for _, n := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// client signs a certificate. Change makes it a bad one.
func (a *authority) client(subject pkix.Name, change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	a.next++
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dialCert connects to IMAPS with a certificate; nil is none.
func dialCert(addr, serverName string, cert *tls.Certificate) (*harness.Client, error) {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: serverName}
	if cert != nil {
		// The server's list of authorities is not looked at: bad ones are sent, too.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, err
	}
	return harness.NewClient(conn)
}

// noPenalty has failures answered at once.
const noPenalty = `
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// external is the settings of users who are known by their certificates.
const external = noPenalty + `
auth_mechanisms = plain login external
auth_ssl_username_from_cert = yes
passdb {
  driver = static
  mechanisms = external
  args = nopassword=y
}
`

const refusal = "a NO [AUTHENTICATIONFAILED] Authentication failed."

// TestClientCertificates logs in with certificates of each kind: by name and password, where one is required, and
// without a password as whom the certificate names.
func TestClientCertificates(t *testing.T) {
	a, other := newAuthority(t, "Authority"), newAuthority(t, "Other")
	me := pkix.Name{CommonName: harness.User(1), Organization: []string{harness.User(0)}}
	certs := map[string]*tls.Certificate{"none": nil}
	for name, cert := range map[string]tls.Certificate{
		"good":                 a.client(me, nil),
		"revoked":              a.client(me, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(77) }),
		"expired":              a.client(me, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"future":               a.client(me, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }),
		"of a server":          a.client(me, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"of another authority": other.client(me, nil),
		"without a name":       a.client(pkix.Name{Organization: []string{"x"}}, nil),
	} {
		certs[name] = &cert
	}
	commands := map[string]string{
		"password": "a LOGIN " + harness.User(0) + " " + harness.Password,
		"external": "a AUTHENTICATE EXTERNAL =",
		// What the certificate says cannot be another user's name by what the client says.
		"as another": "a AUTHENTICATE EXTERNAL " + base64.StdEncoding.EncodeToString([]byte(harness.User(0))),
	}
	answers := func(mb *harness.Mailbox, serverName string) map[string]string {
		got := map[string]string{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for name, cert := range certs {
			for how, command := range commands {
				wg.Go(func() { // Dovecot answers failures twice a second
					answer := answerTo(mb.IMAPS, serverName, cert, command)
					mu.Lock()
					defer mu.Unlock()
					got[name+", "+how] = answer
				})
			}
		}
		wg.Wait()
		return got
	}
	for name, tt := range map[string]struct {
		settings, serverName string
		differs              map[string][2]string // of ours and the original
	}{
		"verified": {},
		"required": {settings: "auth_ssl_require_client_cert = yes\n"},
		// A list counts also where none is required.
		"without lists": {settings: "ssl_require_crl = no\n", differs: map[string][2]string{"revoked, external": {refusal, "a OK"}}},
		"another field": {settings: "ssl_cert_username_field = organizationName\n"},
		// The original has made up its mind before it knows the name.
		"asked by name":     {"ssl_verify_client_cert = no\nlocal_name asks.example.test {\n  ssl_verify_client_cert = yes\n}\n", "asks.example.test", map[string][2]string{"good, external": {"a OK", refusal}}},
		"not asked by name": {"ssl_verify_client_cert = no\nlocal_name asks.example.test {\n  ssl_verify_client_cert = yes\n}\n", "other.example.test", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results := map[harness.Program]map[string]string{}
			for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
				ca := filepath.Join(harness.Dir(t), "ca.pem")
				harness.Write(t, ca, a.pem(77))
				mb := harness.StartMailbox(t, p, harness.MailboxOptions{Extra: external + "ssl_verify_client_cert = yes\nssl_ca = <" + ca + "\n" + tt.settings})
				results[p] = answers(mb, tt.serverName)
				if p == harness.Dovetail && name == "verified" {
					wantLog(t, mb, "Login: user=<"+harness.User(1)+">, method=EXTERNAL")
				}
			}
			for k, want := range tt.differs {
				if got := [2]string{results[harness.Dovetail][k], results[harness.Original][k]}; got != want {
					t.Errorf("%s: %q of ours and the original, want %q", k, got, want)
				}
				delete(results[harness.Dovetail], k)
			}
			for k, ours := range results[harness.Dovetail] {
				if theirs := results[harness.Original][k]; ours != theirs {
					t.Errorf("%s: %q, the original's is %q", k, ours, theirs)
				}
			}
		})
	}
}

// answerTo returns the beginning of the tagged reply to a login.
func answerTo(addr, serverName string, cert *tls.Certificate, command string) string {
	c, err := dialCert(addr, serverName, cert)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	line, err := c.Ask(command)
	for err == nil && strings.HasPrefix(line, "* ") {
		line, err = c.Reply()
	}
	if err != nil {
		return err.Error()
	}
	line, _, _ = strings.Cut(line, " [CAPABILITY")
	return line
}

// wantLog waits for text in the log.
func wantLog(t *testing.T, mb *harness.Mailbox, text string) {
	t.Helper()
	harness.Eventually(t, text, func() bool {
		b, err := os.ReadFile(mb.Log)
		return err == nil && strings.Contains(string(b), text)
	})
}

// TestClientCertificatesLMTP has a client with a wrong certificate refused where none is needed.
func TestClientCertificatesLMTP(t *testing.T) {
	a, other := newAuthority(t, "Authority"), newAuthority(t, "Other")
	good, bad := a.client(pkix.Name{CommonName: "mta"}, nil), other.client(pkix.Name{CommonName: "mta"}, nil)
	both(t, func(t *testing.T, p harness.Program) {
		ca := filepath.Join(harness.Dir(t), "ca.pem")
		harness.Write(t, ca, a.pem())
		mb := harness.StartMailbox(t, p, harness.MailboxOptions{Extra: "ssl_verify_client_cert = yes\nssl_ca = <" + ca + "\n"})
		for name, tt := range map[string]struct {
			cert  *tls.Certificate
			wants bool
		}{"none": {nil, true}, "good": {&good, true}, "bad": {&bad, false}} {
			c := harness.Connect(t, mb.LMTP)
			c.Expect(t, "LHLO client.example.test", "250")
			c.Expect(t, "STARTTLS", "220")
			config := &tls.Config{InsecureSkipVerify: true}
			if tt.cert != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.cert, nil }
			}
			conn := tls.Client(c.Conn, config)
			conn.SetDeadline(time.Now().Add(time.Minute))
			_, err := conn.Write([]byte("LHLO client.example.test\r\n"))
			if err == nil {
				_, err = conn.Read(make([]byte, 3)) // with TLS 1.3 the refusal comes after the handshake
			}
			if (err == nil) != tt.wants {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
