package tlsconf

import (
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// encryptedKeys are the ways in which openssl encrypts a key.
var encryptedKeys = map[string][]string{
	"PKCS #8, AES-256":       {"pkcs8", "-topk8", "-v2", "aes-256-cbc"},
	"PKCS #8, AES-128, SHA1": {"pkcs8", "-topk8", "-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"},
	"PKCS #8, 3DES, SHA512":  {"pkcs8", "-topk8", "-v2", "des3", "-v2prf", "hmacWithSHA512"},
	"traditional":            {"rsa", "-aes256", "-traditional"},
}

func TestEncryptedKeys(t *testing.T) {
	dir := t.TempDir()
	plain, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	openssl(t, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", plain, "-out", cert, "-subj", "/CN=x")
	chain := read(t, cert)
	for name, args := range encryptedKeys {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "enc.pem")
			openssl(t, append(args, "-in", plain, "-out", out, "-passout", "pass:secret")...)
			key := read(t, out)
			for password, want := range map[string]string{"secret": "", "": "there is no password", "wrong": "key of certificate: "} {
				_, err := Server(Params{CertPEM: chain, KeyPEM: key, KeyPassword: []byte(password)})
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("password %q: %v, want %q", password, err, want)
				}
			}
		})
	}
}

func openssl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v (run test/install-packages)\n%s", args, err, out)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCurves(t *testing.T) {
	for list, want := range map[string][]tls.CurveID{
		"":                             nil,
		"P-256:X448:x25519:prime256v1": {tls.CurveP256, tls.X25519},
		"secp521r1:secp384r1":          {tls.CurveP521, tls.CurveP384},
	} {
		got, err := curves(list)
		if err != nil || len(got) != len(want) {
			t.Errorf("%q: %v, %v", list, got, err)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%q: %v, want %v", list, got, want)
			}
		}
	}
	if _, err := curves("X448"); err == nil {
		t.Error("a list that leaves no curve is accepted")
	}
}

func FuzzDecryptKey(f *testing.F) {
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMDAwDQYJ\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMDAw\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		decryptKey(text, []byte("secret")) //nolint:errcheck // it must not panic
	})
}
