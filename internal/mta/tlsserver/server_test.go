package tlsserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// newChain makes a key and its certificate in PEM form.
func newChain(t testing.TB, name string) (key, cert []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(240 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestParseChains(t *testing.T) {
	keyA, certA := newChain(t, "a")
	keyB, certB := newChain(t, "b")
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, []byte("text between\n")) }
	for _, tt := range []struct {
		name   string
		text   []byte
		chains int
		err    string
	}{
		{"key first", join(keyA, certA), 1, ""},
		{"key last", join(certA, keyA), 1, ""},
		{"key between", join(certA, keyA, certB), 1, ""},
		{"with an authority", join(keyA, certA, certB), 1, ""},
		{"two chains", join(keyA, certA, keyB, certB), 2, ""},
		{"nothing", []byte("nothing here"), 0, "no PEM data in FILE"},
		{"no key", certA, 0, "no private key found in FILE"},
		{"no certificate", keyA, 0, "not followed by a certificate"},
		{"two keys", join(keyA, keyB, certB), 0, "not followed by a certificate"},
		{"wrong key", join(keyB, certA), 0, "a key does not match the certificate that follows it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chains, err := parseChains("FILE", tt.text)
			if len(chains) != tt.chains || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%d chains, %v", len(chains), err)
			}
		})
	}
}

func FuzzParseChains(f *testing.F) {
	key, cert := newChain(f, "a")
	f.Add(append(key, cert...))
	f.Add(append(cert, key...))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMDAw\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		chains, err := parseChains("FILE", text)
		if err == nil && len(chains) == 0 {
			t.Error("no chain and no error")
		}
	})
}

// A fakeServer is one whose clock and files a test controls.
type fakeServer struct {
	*Server
	now  time.Time
	file string
	log  string
	sink *maillog.Sink
}

func newServer(t *testing.T, timeout time.Duration) *fakeServer {
	t.Helper()
	dir := t.TempDir()
	f := &fakeServer{now: time.Now(), file: filepath.Join(dir, "chain.pem"), log: filepath.Join(dir, "log")}
	file, err := os.Create(f.log)
	if err != nil {
		t.Fatal(err)
	}
	f.sink = maillog.NewFile(file, maillog.Postfix, "mail")
	t.Cleanup(f.sink.Close)
	f.replace(t, "first.example")
	f.Server, err = New(Params{
		ChainFiles: []string{f.file}, Digest: "sha256", LogLevel: "summary", SessionTimeout: timeout, ReadFile: os.ReadFile,
		Versions: tlsconf.Versions{Lowest: tls.VersionTLS12, Highest: tls.VersionTLS13},
		Log:      maillog.New(f.sink, "postfix/smtpd[1]"), Now: func() time.Time { return f.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fakeServer) replace(t *testing.T, name string) {
	t.Helper()
	key, cert := newChain(t, name)
	if err := os.WriteFile(f.file, append(key, cert...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// handshake does one with a client, and says who the server was.
func (f *fakeServer) handshake(t *testing.T, config *tls.Config) (name string, resumed bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	theirs, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs.SetDeadline(time.Now().Add(60 * time.Second))
	done := make(chan error, 1)
	go func() {
		conn, _, err := f.Handshake(context.Background(), Handshake{Conn: ours, Client: "c[192.0.2.1]"})
		if err == nil {
			_, err = conn.Write([]byte("x")) // with TLS 1.3, after the ticket
		}
		done <- err
	}()
	conn := tls.Client(theirs, config)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	state := conn.ConnectionState()
	return state.PeerCertificates[0].Subject.CommonName, state.DidResume
}

func TestFilesChange(t *testing.T) {
	f := newServer(t, time.Hour)
	expect := func(want string) {
		t.Helper()
		if got, _ := f.handshake(t, &tls.Config{InsecureSkipVerify: true}); got != want {
			t.Errorf("the certificate is %s, want %s", got, want)
		}
	}
	expect("first.example")
	f.replace(t, "second.example")
	f.now = f.now.Add(checkInterval)
	expect("second.example")
	os.WriteFile(f.file, []byte("not ready yet"), 0o600)
	f.now = f.now.Add(checkInterval)
	expect("second.example")
	os.Remove(f.file)
	f.now = f.now.Add(checkInterval)
	expect("second.example")
	f.replace(t, "third.example")
	f.now = f.now.Add(checkInterval)
	expect("third.example")
	f.sink.Flush()
	log, err := os.ReadFile(f.log)
	if err != nil || strings.Count(string(log), "read again") != 2 || strings.Count(string(log), "those read before stay in use") != 1 {
		t.Errorf("log: %v\n%s", err, log)
	}
}

func TestTickets(t *testing.T) {
	f := newServer(t, time.Hour)
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "x", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i, step := range []struct {
		later   time.Duration
		resumed bool
	}{{0, false}, {0, true}, {time.Hour, true}, {time.Hour, true}, {time.Hour, true}} {
		f.now = f.now.Add(step.later)
		if _, resumed := f.handshake(t, client); resumed != step.resumed {
			t.Errorf("session %d: resumed: %v", i, resumed)
		}
	}
	f.now = f.now.Add(time.Hour)
	f.handshake(t, &tls.Config{InsecureSkipVerify: true}) // another client, so that the key is replaced
	f.now = f.now.Add(time.Hour)
	if _, resumed := f.handshake(t, client); resumed {
		t.Error("a ticket outlives its key and the next")
	}
	without := newServer(t, 0)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	without.handshake(t, client)
	if _, resumed := without.handshake(t, client); resumed {
		t.Error("there are tickets though the timeout is 0")
	}
}

// A ticket of one service opens no session of another, whose certificates and rules may differ.
func TestTicketOfAnotherService(t *testing.T) {
	f, other := newServer(t, time.Hour), newServer(t, time.Hour)
	other.replace(t, "first.example")
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "x", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	f.handshake(t, client)
	if _, resumed := other.handshake(t, client); resumed {
		t.Error("another service takes the ticket")
	}
}

// Names in a certificate that are not plain text count as none.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"mail.example": "mail.example", "a\x00": "a", "a\x00.b": "", "a\nb": "", "a\x7f": "", "müller": "müller", strings.Repeat("x", 255): strings.Repeat("x", 255), strings.Repeat("x", 256): "",
	} {
		subject := pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: oidOrganization, Value: "o"}, {Type: oidCommonName, Value: name}, {Type: oidCommonName, Value: "second"}}}
		if got := (&nameReader{}).commonName(subject); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
		issuer := want
		if issuer == "" {
			issuer = "o"
		}
		if got := (&nameReader{}).issuer(&x509.Certificate{Issuer: subject}); got != issuer {
			t.Errorf("issuer %q is %q, want %q", name, got, issuer)
		}
	}
}

func TestBadSettings(t *testing.T) {
	key, cert := newChain(t, "x")
	good := filepath.Join(t.TempDir(), "good.pem")
	if err := os.WriteFile(good, append(key, cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, p := range map[string]Params{
		ErrNoCertificate.Error(): {CertFile: "none", Digest: "sha256"},
		"no such file":           {CertFile: good + "x", KeyFile: good + "x", Digest: "sha256"},
		"digest algorithm \"x\"": {CertFile: good, KeyFile: good, Digest: "x"},
		"leave no cipher":        {CertFile: good, KeyFile: good, Digest: "md5", CipherList: "HIGH:!ALL", Versions: tlsconf.Versions{Highest: tls.VersionTLS12}},
	} {
		p.ReadFile = os.ReadFile
		if _, err := New(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	var pe *fs.PathError
	if _, err := New(Params{CertFile: good + "x", KeyFile: good, Digest: "md5", ReadFile: os.ReadFile}); !errors.As(err, &pe) {
		t.Errorf("no path in %v", err)
	}
}
