package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
)

// A Signature is what OpenSSL says of the signatures that a key makes in a TLS 1.3 handshake. Its zero value is none.
type Signature struct {
	Name   string // "RSA-PSS"
	Key    string // "2048 bits", or the name of the curve
	Digest string // empty if the signature has none of its own
}

// SignatureOf describes the signatures of a key; digest is the one that RSA signs.
func SignatureOf(key crypto.PublicKey, digest string) Signature {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return Signature{"RSA-PSS", fmt.Sprintf("%d bits", key.N.BitLen()), digest}
	case ed25519.PublicKey:
		return Signature{Name: "ED25519"}
	case *ecdsa.PublicKey: // the curve decides (RFC 8446 4.2.3)
		switch key.Curve.Params().BitSize {
		case 256:
			return Signature{"ECDSA", "prime256v1", "SHA256"}
		case 384:
			return Signature{"ECDSA", "secp384r1", "SHA384"}
		}
		return Signature{"ECDSA", "secp521r1", "SHA512"}
	}
	return Signature{}
}

// Append adds the words of Postfix's log lines and headers: " server-signature RSA-PSS (2048 bits) server-digest SHA256".
func (s Signature) Append(b []byte, side string) []byte {
	if s.Name == "" {
		return b
	}
	b = fmt.Appendf(b, " %s-signature %s", side, s.Name)
	if s.Key != "" {
		b = fmt.Appendf(b, " (%s)", s.Key)
	}
	if s.Digest != "" {
		b = fmt.Appendf(b, " %s-digest %s", side, s.Digest)
	}
	return b
}
