package db

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/dict"
)

// jwtKeys are the keys that tokens are checked with, in a dictionary under
// shared/AZP/ALGORITHM/KID: secrets in base64, public keys in PEM or as a JWK
// (RFC 7517).
type jwtKeys struct{ dict dict.Dict }

// keyName writes a part of a key's name, which comes from the token, so that it stays one.
var keyName = strings.NewReplacer("/", "%2f", "%", "%25")

// find returns the key that a token names: a secret as []byte, or a public key.
func (k *jwtKeys) find(ctx context.Context, party, algorithm, id string) (any, error) {
	if party == "" || strings.ContainsAny(party+id, "\x00\n") {
		return nil, refuse(ErrMismatch, "%s key '%s' not found", algorithm, id)
	}
	party, id = keyName.Replace(party), keyName.Replace(id)
	text, err := dict.Lookup(ctx, k.dict, dict.User{}, dict.Shared+party+"/"+algorithm+"/"+id)
	switch {
	case errors.Is(err, dict.ErrNotFound):
		return nil, refuse(ErrMismatch, "%s key '%s' not found", algorithm, id)
	case err != nil:
		return nil, err
	}
	if strings.HasPrefix(algorithm, "HS") {
		secret, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil || len(secret) == 0 {
			return nil, refuse(ErrMismatch, "Invalid base64 encoded key")
		}
		return secret, nil
	}
	key, err := parsePublicKey(text)
	if err != nil {
		return nil, refuse(ErrMismatch, "Cannot load key: %v", err)
	}
	return key, nil
}

// parsePublicKey reads a public key.
func parsePublicKey(text string) (any, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return parseJWK(text)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("it is neither a PUBLIC KEY in PEM nor a JWK")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// parseJWK reads a public key of RFC 7518 6 or RFC 8037 2.
func parseJWK(text string) (any, error) {
	claims, err := parseClaims([]byte(text))
	if err != nil {
		return nil, err
	}
	number := func(name string) []byte {
		value, _ := findClaim(claims, name)
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(value, "="))
		if err != nil {
			return nil
		}
		return b
	}
	kind, _ := findClaim(claims, "kty")
	name, _ := findClaim(claims, "crv")
	switch kind {
	case "RSA":
		e := new(big.Int).SetBytes(number("e"))
		if len(number("n")) == 0 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
			return nil, errors.New("JWK of RSA has no n or e")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(number("n")), E: int(e.Int64())}, nil
	case "EC":
		curve, ok := jwkCurves[name]
		if !ok {
			return nil, fmt.Errorf("JWK has an unknown curve %q", name)
		}
		return parsePoint(curve, number("x"), number("y"))
	case "OKP":
		if x := number("x"); name == "Ed25519" && len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x), nil
		}
	}
	return nil, fmt.Errorf("JWK has an unsupported type %q", kind)
}

var jwkCurves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// parsePoint makes a key of the coordinates of a point, which must be one of the curve.
func parsePoint(curve elliptic.Curve, x, y []byte) (*ecdsa.PublicKey, error) {
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size {
		return nil, errors.New("JWK has coordinates of another size than the curve's")
	}
	return ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
}
