package db

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // of the algorithms
	_ "crypto/sha512"
	"encoding/base64"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
)

// A jwtAlgorithm is how a JWT is signed (RFC 7518 3.1, RFC 8037).
type jwtAlgorithm struct {
	hash   crypto.Hash
	verify func(key any, hash crypto.Hash, signed, signature []byte) error
}

// jwtAlgorithms are those whose keys an administrator can give. "none" is not one, and
// each takes keys of its own kind only: a public key is never an HMAC's secret.
var jwtAlgorithms = map[string]jwtAlgorithm{
	"HS256": {crypto.SHA256, verifyHMAC},
	"HS384": {crypto.SHA384, verifyHMAC},
	"HS512": {crypto.SHA512, verifyHMAC},
	"RS256": {crypto.SHA256, verifyRSA},
	"RS384": {crypto.SHA384, verifyRSA},
	"RS512": {crypto.SHA512, verifyRSA},
	"PS256": {crypto.SHA256, verifyPSS},
	"PS384": {crypto.SHA384, verifyPSS},
	"PS512": {crypto.SHA512, verifyPSS},
	"ES256": {crypto.SHA256, verifyECDSA},
	"ES384": {crypto.SHA384, verifyECDSA},
	"ES512": {crypto.SHA512, verifyECDSA},
	"EDDSA": {0, verifyEdDSA},
}

var (
	errSignature = refuse(ErrMismatch, "Bad signature")
	errKeyKind   = refuse(ErrMismatch, "Key is of another kind than the token's algorithm")
)

func verifyHMAC(key any, hash crypto.Hash, signed, signature []byte) error {
	secret, ok := key.([]byte)
	if !ok {
		return errKeyKind
	}
	h := hmac.New(hash.New, secret)
	h.Write(signed)
	if !hmac.Equal(h.Sum(nil), signature) {
		return refuse(ErrMismatch, "Incorrect JWT signature")
	}
	return nil
}

func sum(hash crypto.Hash, signed []byte) []byte {
	h := hash.New()
	h.Write(signed)
	return h.Sum(nil)
}

func verifyRSA(key any, hash crypto.Hash, signed, signature []byte) error {
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return errKeyKind
	}
	if rsa.VerifyPKCS1v15(k, hash, sum(hash, signed), signature) != nil {
		return errSignature
	}
	return nil
}

func verifyPSS(key any, hash crypto.Hash, signed, signature []byte) error {
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return errKeyKind
	}
	if rsa.VerifyPSS(k, hash, sum(hash, signed), signature, nil) != nil {
		return errSignature
	}
	return nil
}

// verifyECDSA takes a signature that is two numbers of the size of the curve.
func verifyECDSA(key any, hash crypto.Hash, signed, signature []byte) error {
	k, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return errKeyKind
	}
	size := (k.Curve.Params().BitSize + 7) / 8
	if len(signature) != 2*size {
		return errSignature
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	if !ecdsa.Verify(k, sum(hash, signed), r, s) {
		return errSignature
	}
	return nil
}

func verifyEdDSA(key any, _ crypto.Hash, signed, signature []byte) error {
	k, ok := key.(ed25519.PublicKey)
	if !ok {
		return errKeyKind
	}
	if !ed25519.Verify(k, signed, signature) {
		return errSignature
	}
	return nil
}

// A jwt is a token that was taken apart (RFC 7519), and nothing checked yet.
type jwt struct {
	algorithm string // upper case
	keyID     string
	claims    []claim
	signed    []byte
	signature []byte
}

var errNoJWT = refuse(ErrMismatch, "Not a JWT token")

func parseJWT(token string) (*jwt, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errNoJWT
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil || len(header) == 0 {
		return nil, errNoJWT
	}
	claims, err := parseClaims(header)
	if err != nil {
		return nil, refuse(ErrMismatch, "%v", err)
	}
	t := &jwt{keyID: "default", signed: []byte(parts[0] + "." + parts[1])}
	if err := t.header(claims); err != nil {
		return nil, err
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, errNoJWT
	}
	if t.claims, err = parseClaims(body); err != nil {
		return nil, refuse(ErrMismatch, "%v", err)
	}
	if t.signature, err = base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		t.signature = nil // which no key has made
	}
	return t, nil
}

// header takes what the header says about the signature.
func (t *jwt) header(claims []claim) error {
	if kind, ok := findClaim(claims, "typ"); !ok || kind != "JWT" {
		return refuse(ErrMismatch, "Cannot find 'typ' field")
	}
	algorithm, ok := findClaim(claims, "alg")
	if !ok {
		return refuse(ErrMismatch, "Cannot find 'alg' field")
	}
	t.algorithm = strings.ToUpper(algorithm)
	if slices.ContainsFunc(claims, func(m claim) bool { return m.name == "crit" }) {
		return refuse(ErrMismatch, "Unsupported 'crit' field") // RFC 7515 4.1.11
	}
	if id, ok := findClaim(claims, "kid"); ok {
		if id == "" {
			return refuse(ErrMismatch, "'kid' field is empty")
		}
		t.keyID = id
	}
	return nil
}

// checkTimes checks exp, nbf and iat, in seconds since 1970 or as a date.
func (t *jwt) checkTimes(now time.Time) error {
	var times [3]int64 // as in names
	names := [...]string{"exp", "nbf", "iat"}
	for i, name := range names {
		text, ok := findClaim(t.claims, name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			var date time.Time
			date, err = time.Parse(time.RFC3339, text)
			n = date.Unix()
		}
		if err != nil || n < 0 {
			return refuse(ErrMismatch, "Malformed '%s' field", name)
		}
		times[i] = n
	}
	if _, ok := findClaim(t.claims, "exp"); !ok {
		return refuse(ErrMismatch, "Missing 'exp' field")
	}
	today := now.Unix()
	exp, nbf, iat := times[0], times[1], times[2]
	if nbf == 0 {
		nbf = today
	}
	if iat == 0 {
		iat = today
	}
	switch {
	case nbf > today:
		return refuse(ErrMismatch, "Token is not valid yet")
	case iat > today:
		return refuse(ErrMismatch, "Token is issued in future")
	case exp < today:
		return refuse(ErrMismatch, "Token has expired")
	case exp < iat || exp < nbf:
		return refuse(ErrMismatch, "Token time values are conflicting")
	}
	return nil
}

// checkIssuer checks who made the token, and for whom.
func (t *jwt) checkIssuer(set *ext.OAuth2) error {
	if issuers := strings.Fields(set.Issuers); len(issuers) > 0 {
		issuer, ok := findClaim(t.claims, "iss")
		switch {
		case !ok:
			return refuse(ErrMismatch, "Token is missing 'iss' field")
		case !slices.Contains(issuers, issuer):
			return refuse(ErrMismatch, "Issuer '%s' is not allowed", strings.ToValidUTF8(issuer[:min(len(issuer), 128)], "?"))
		}
	}
	if set.ClientID == "" {
		return t.checkScope(set)
	}
	for _, m := range t.claims {
		if m.name != "aud" || m.kind == claimNull || m.kind == claimObject {
			continue
		}
		if slices.Contains(strings.Split(m.text, "\t"), set.ClientID) {
			return t.checkScope(set)
		}
		return refuse(ErrMismatch, "client_id not found in aud field")
	}
	return refuse(ErrMismatch, "client_id set but aud is missing")
}

// checkScope checks what the token is for.
func (t *jwt) checkScope(set *ext.OAuth2) error {
	if set.Scope == "" {
		return nil
	}
	scope, ok := findClaim(t.claims, "scope")
	switch {
	case !ok:
		return refuse(ErrMismatch, "scope set but not found in token")
	case !hasScopes(scope, set.Scope):
		return refuse(ErrMismatch, "configured scope '%s' missing from token scope '%s'", set.Scope, scope)
	}
	return nil
}

// validate checks a token and returns its fields.
func (k *jwtKeys) validate(ctx context.Context, set *ext.OAuth2, token string) ([]Field, error) {
	t, err := parseJWT(token)
	if err != nil {
		return nil, err
	}
	if _, ok := findClaim(t.claims, "sub"); !ok {
		return nil, refuse(ErrMismatch, "Missing 'sub' field")
	}
	if err := t.checkTimes(time.Now()); err != nil {
		return nil, err
	}
	if err := t.checkIssuer(set); err != nil {
		return nil, err
	}
	algorithm, ok := jwtAlgorithms[t.algorithm]
	if !ok {
		if strings.HasPrefix(t.algorithm, "HS") {
			return nil, refuse(ErrMismatch, "unsupported algorithm '%s'", t.algorithm)
		}
		return nil, refuse(ErrMismatch, "Unsupported algorithm '%s'", t.algorithm)
	}
	party, ok := findClaim(t.claims, "azp")
	if !ok {
		party = "default"
	}
	key, err := k.find(ctx, party, t.algorithm, t.keyID)
	if err != nil {
		return nil, err
	}
	if err := algorithm.verify(key, algorithm.hash, t.signed, t.signature); err != nil {
		return nil, err
	}
	return flatten(t.claims), nil
}
