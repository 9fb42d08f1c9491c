package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"text/template"
	"time"
)

// stock are the files that serve writes into a new data directory.
//
//go:embed stock
var stock embed.FS

// prepare makes the data directory, or completes one. Files that are there stay
// as they are: they are the user's.
func (s *embedded) prepare(dir string) error {
	var err error
	if s.dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	for _, sub := range []string{"", "mail", "log", "tls", "run", "spool", "spool/private"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o700); err != nil {
			return err
		}
	}
	if err := s.writeStock(); err != nil {
		return err
	}
	return s.makeCertificate()
}

func (s *embedded) writeStock() error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	values := map[string]any{"Dir": s.dir, "Port": s.port, "UID": me.Uid, "GID": me.Gid, "User": me.Username}
	funcs := template.FuncMap{"add": func(a, b int) int { return a + b }}
	templates, err := template.New("").Funcs(funcs).ParseFS(stock, "stock/*")
	if err != nil {
		return err
	}
	for _, t := range templates.Templates() {
		var text bytes.Buffer
		if err := t.Execute(&text, values); err != nil {
			return err
		}
		if err := writeNew(filepath.Join(s.dir, t.Name()), text.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file unless it exists.
func writeNew(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// makeCertificate makes a self-signed certificate for localhost, once.
func (s *embedded) makeCertificate() error {
	certFile, keyFile := filepath.Join(s.dir, "tls", "cert.pem"), filepath.Join(s.dir, "tls", "key.pem")
	if _, err := os.Stat(certFile); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeNew(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return writeNew(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644)
}
