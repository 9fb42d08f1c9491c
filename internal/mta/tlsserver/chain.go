package tlsserver

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// maxObjects bounds the keys and certificates in a file.
const maxObjects = 1000

// A ChainError is that the files of certificates and keys were read, but do not hold them.
type ChainError struct{ Err error }

func (e *ChainError) Error() string { return e.Err.Error() }

func (e *ChainError) Unwrap() error { return e.Err }

// parseChains reads keys, each followed by its certificate and the certificates of the authorities
// between that and the root. In a file with one key that may come later.
func parseChains(source string, text []byte) ([]tls.Certificate, error) {
	chains, err := chainsOf(source, text)
	if err != nil {
		return nil, &ChainError{err}
	}
	return chains, nil
}

func chainsOf(source string, text []byte) ([]tls.Certificate, error) {
	var chains []tls.Certificate
	var keys []crypto.PrivateKey
	for n := 1; ; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if n > maxObjects {
			return nil, fmt.Errorf("%s: more than %d PEM objects", source, maxObjects)
		}
		switch {
		case block.Type == "CERTIFICATE" || block.Type == "X509 CERTIFICATE":
			if len(chains) <= max(0, len(keys)-1) {
				chains = append(chains, tls.Certificate{})
			}
			last := &chains[len(chains)-1]
			last.Certificate = append(last.Certificate, block.Bytes)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key, err := parseKey(block)
			if err != nil {
				return nil, fmt.Errorf("%s: private key (PEM object number %d): %w", source, n, err)
			}
			keys = append(keys, key)
		}
	}
	switch {
	case len(keys) == 0 && len(chains) == 0:
		return nil, fmt.Errorf("no PEM data in %s", source)
	case len(keys) == 0:
		return nil, fmt.Errorf("no private key found in %s", source)
	case len(keys) != len(chains):
		return nil, fmt.Errorf("%s: a key is not followed by a certificate", source)
	}
	for i := range chains {
		if err := fit(&chains[i], keys[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
	}
	return chains, nil
}

// parsePair reads a chain and its key from different files.
func parsePair(certFile string, cert []byte, keyFile string, key []byte) (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, &ChainError{fmt.Errorf("certificate in %s, key in %s: %w", certFile, keyFile, err)}
	}
	return pair, nil
}

// fit puts certificate and key together.
func fit(chain *tls.Certificate, key crypto.PrivateKey) error {
	leaf, err := x509.ParseCertificate(chain.Certificate[0])
	if err != nil {
		return err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("keys of type %T cannot sign", key)
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return err
	}
	if !bytes.Equal(public, leaf.RawSubjectPublicKeyInfo) {
		return errors.New("a key does not match the certificate that follows it")
	}
	chain.Leaf, chain.PrivateKey = leaf, key
	return nil
}

// parseKey reads a key in one of the forms that OpenSSL writes.
func parseKey(block *pem.Block) (crypto.PrivateKey, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	return nil, fmt.Errorf("keys of type %s are not supported", block.Type)
}
